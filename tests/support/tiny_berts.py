"""A tiny random BERT with a tokenizer over single letters, texts for it, and the recipe of a whole run with it."""

from pathlib import Path

import numpy as np
import torch
import transformers

from platon_compress.testing import tiny_recipe

LETTERS = (*"abcdefghijklmnop", *"0123456789")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_POSITIONS = 64


def letter_texts(count, seed=0):
    """Texts of two to eight of the letters a to h each."""
    generator = np.random.default_rng(seed)
    return [" ".join(generator.choice(list("abcdefgh"), generator.integers(2, 9))) for _ in range(count)]


def letter_tokenizer(folder, words=LETTERS, **settings):
    """BERT's tokenizer over `words`, for texts of at most 64 tokens; its vocabulary is written to `folder`."""
    path = Path(folder) / "vocab.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([*_SPECIAL, *words]))
    return transformers.BertTokenizerFast(str(path), model_max_length=_POSITIONS, **settings)


def tiny_bert(kind="BertForSequenceClassification", *, seed=0, zeros=0.0, spread=None, dropout=0.0, **config):
    """A BERT of two blocks of that class in eval mode, for texts of `letter_tokenizer`, its weights drawn from `seed`.

    zeros: the share of the blocks' weights that is zero. spread: the standard deviation of every matrix, such as 0.3 for
    answers that differ from text to text (None: as transformers draws them).
    """
    torch.manual_seed(seed)
    sizes = {
        "vocab_size": len(_SPECIAL) + len(LETTERS), "hidden_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "intermediate_size": 64, "max_position_embeddings": _POSITIONS,
        "hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout,
    }  # fmt: skip
    model = getattr(transformers, kind)(transformers.BertConfig(**{**sizes, **config})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim != 2:
                continue
            if spread is not None:
                parameter.normal_(0, spread)
            if "encoder" in name:
                parameter[torch.rand_like(parameter) < zeros] = 0
    return model


def saved_bert(folder, kind="BertModel", **settings):
    """The path of `folder`, which then holds the model of `tiny_bert` with its tokenizer, as a recipe names it."""
    letter_tokenizer(folder).save_pretrained(folder)
    tiny_bert(kind, **settings).save_pretrained(folder)
    return str(folder)


def tiny_text_recipe(model, task, data, **sections):
    """A whole run of seconds with the saved `model`, such as one of `saved_bert`; `sections` as in `tiny_recipe`."""
    sizes = {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3}
    train = {**sizes, **sections.pop("train", {})}
    bench = {"tokens": [16], **sections.pop("bench", {})}
    recipe = tiny_recipe(train=train, bench=bench, **sections)
    return {**recipe, "model": {"name": model, "task": task}, "data": dict(data)}
