"""What each training is told: the baseline, and the pruned model where it has settings of its own."""

import pytest

from platon_compress.pipeline import training
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, (1e-3, 0.2, 1)),
        ({"learning_rate": 4e-3}, (4e-3, 0.2, 1)),
        ({"dropout": 0}, (1e-3, 0, 1)),
        ({"epochs": 2}, (1e-3, 0.2, 2)),
    ],
)
def test_the_pruned_model_may_learn_in_its_own_way(own, told, tmp_path, monkeypatch):
    raw = tiny_recipe(train={"epochs": 1, "learning_rate": 1e-3, "dropout": 0.2}, prune=own)
    seen, train = [], training.train

    def watched(task, checkpoint, examples, validation, settings, **others):
        result = train(task, checkpoint, examples, validation, settings, **others)
        (rate,) = {m.p for m in checkpoint.model.modules() if type(m).__name__ == "Dropout"}
        assert rate == settings.dropout
        seen.append((settings.learning_rate, settings.dropout, settings.epochs))
        return result

    monkeypatch.setattr(training, "train", watched)
    results = run_recipe(parse_recipe(raw), tmp_path / "run", Reporter(quiet=True), until="prune")
    assert seen == [(1e-3, 0.2, 1), told]
    assert results["prune"]["steps"] == told[2] * results["dense"]["steps"]
