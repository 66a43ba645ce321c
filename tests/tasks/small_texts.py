"""Tiny text models with a tokenizer of single letters, and recipes of seconds with them."""

import torch
import transformers

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnop", *"0123456789"]


def tokenizer(folder, **settings):
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    return transformers.BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=64, **settings)


def bert(kind="BertForSequenceClassification", *, seed=0, dropout=0.0, **settings):
    """A model of that class, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout, **settings,
    )  # fmt: skip
    return getattr(transformers, kind)(config).eval()


def saved_bert(folder, kind="BertModel", **settings):
    """The name of a folder that holds such a model with its tokenizer."""
    tokenizer(folder).save_pretrained(folder)
    bert(kind, **settings).save_pretrained(folder)
    return str(folder)


def tiny_run(model, task, data, **sections):
    """A recipe: two blocks, every layer forced to CSR on one thread, sparsity 0.5."""
    recipe = {
        "model": {"name": model, "task": task},
        "data": data,
        "train": {"epochs": 4, "batch_size": 16, "learning_rate": 3e-3, "evaluations": 2},
        "prune": {"sparsity": 0.5, "mask_interval": 1, "beta1": 0.5, "beta2": 0.5},
        "plan": {"calibrate": False, "force": "csr", "threads": 1},
        "bench": {"batch": [1], "runs": 5},
    }
    return {**recipe, **{name: {**recipe.get(name, {}), **section} for name, section in sections.items()}}
