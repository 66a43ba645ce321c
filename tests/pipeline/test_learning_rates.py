"""The learning rate of each training: the baseline's, and the pruned model's own."""

import pytest

from platon_compress.pipeline import training
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe


@pytest.mark.parametrize(("own", "rates"), [({}, [1e-3, 1e-3]), ({"learning_rate": 4e-3}, [1e-3, 4e-3])])
def test_the_pruned_model_may_learn_faster(own, rates, tmp_path, monkeypatch):
    raw = tiny_recipe(train={"epochs": 1, "learning_rate": 1e-3}, prune=own)
    seen, train = [], training.train

    def watched(task, checkpoint, examples, validation, settings, **others):
        seen.append((settings.learning_rate, settings.epochs))
        return train(task, checkpoint, examples, validation, settings, **others)

    monkeypatch.setattr(training, "train", watched)
    run_recipe(parse_recipe(raw), tmp_path / "run", Reporter(quiet=True), until="prune")
    assert seen == [(rate, 1) for rate in rates]
