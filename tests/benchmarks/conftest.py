"""Studies are plain scripts: their folder goes on the path, as when one of them is started."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

_SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture
def tiny_target(monkeypatch):
    """tiny_target(cells={}, **config) -> a small BERT, which studies then know as the target "tiny"."""
    import targets

    def known(cells=None, **config):
        target = targets.TargetModel(
            title="Tiny",
            config_class="BertConfig",
            architecture="BertForSequenceClassification",
            config={**_SIZES, "vocab_size": 200, "max_position_embeddings": 32, **config},
            cells=cells or {},
        )
        monkeypatch.setitem(targets.TARGETS, "tiny", target)
        return target

    return known
