"""Tiny random models whose words are letters, saved as folders."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # small_*.py
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop"]


@pytest.fixture
def tiny_bert():
    """tiny_bert(folder, kind, **config): a model with its tokenizer in `folder`, the folder's path as text."""
    import transformers

    def make(folder, kind="BertModel", *, seed=0, **settings):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.txt").write_text("\n".join(WORDS))
        torch.manual_seed(seed)
        config = transformers.BertConfig(
            **{
                "vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
                "intermediate_size": 64, "max_position_embeddings": 32, **settings,
            }
        )  # fmt: skip
        model = getattr(transformers, kind)(config)
        with torch.no_grad():  # answers that differ from text to text
            for parameter in model.parameters():
                if parameter.ndim == 2:
                    parameter.normal_(0, 0.3)
        model.save_pretrained(folder)
        transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=32).save_pretrained(folder)
        return str(folder)

    return make


@pytest.fixture
def letters():
    """letters(count, seed): texts of two to eight letters each."""

    def make(count, seed=0):
        generator = np.random.default_rng(seed)
        return [" ".join(generator.choice(list("abcdefgh"), generator.integers(2, 9))) for _ in range(count)]

    return make


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Over models this small, threads only wait for one another."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
