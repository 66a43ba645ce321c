"""A training that prunes and goes on from the dense baseline: its first weights, its steps, what is trained alike."""

import pytest
import torch
import yaml

from platon_compress.pipeline import smaller, training
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe

RAW = tiny_recipe(train={"epochs": 1}, prune={"from_dense": True}, distill={})


@pytest.fixture
def starts(monkeypatch):
    """Of every training, the weights that it starts from."""
    seen = []
    for module in (training, smaller):
        train = module.train

        def watched(task, checkpoint, *others, train=train, **more):
            seen.append({name: value.clone() for name, value in checkpoint.model.state_dict().items()})
            return train(task, checkpoint, *others, **more)

        monkeypatch.setattr(module, "train", watched)
    return seen


def _same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_it_starts_where_the_baseline_ended_and_so_does_what_is_trained_alike_and_as_long(tmp_path, starts):
    recipe = parse_recipe({**RAW, "prune": {**RAW["prune"], "epochs": 2}})
    run_recipe(recipe, tmp_path / "run", Reporter(quiet=True), until="prune")
    work = Workspace(RunFolder.open(tmp_path / "run", "run"), recipe, Reporter(quiet=True))
    dense = work.dense.model.state_dict()
    fresh, begun = starts
    assert not _same(fresh, dense)
    assert _same(begun, dense)
    steps = [work.folder.result(stage)["steps"] for stage in ("dense", "prune")]
    assert steps[1] == 3 * steps[0]
    result = smaller.train_unpruned(work, work.unpruned_start(), tmp_path / "checkpoints")
    assert _same(starts[-1], dense)
    assert result.all_steps == steps[1]


def test_without_it_all_start_from_the_model_as_it_was_given(tmp_path, starts):
    recipe = parse_recipe({**RAW, "prune": {**RAW["prune"], "from_dense": False}})
    run_recipe(recipe, tmp_path / "run", Reporter(quiet=True), until="prune")
    work = Workspace(RunFolder.open(tmp_path / "run", "run"), recipe, Reporter(quiet=True))
    assert _same(starts[0], starts[1])
    assert _same(starts[0], work.unpruned_start().model.state_dict())
    assert work.folder.result("prune")["steps"] == work.folder.result("dense")["steps"]


def test_what_is_trained_alike_has_its_learning_rate_only_where_both_go_on():
    rates = {}
    for goes_on in (True, False):
        recipe = parse_recipe(
            {**RAW, "prune": {**RAW["prune"], "from_dense": goes_on, "learning_rate": 3e-6}}
        )
        rates[goes_on] = recipe.unpruned_training.learning_rate
        assert recipe.pruning_training.learning_rate == 3e-6
        assert ("prune.learning_rate" in smaller.smaller_stage(recipe).uses(recipe)) is goes_on
    assert rates == {True: 3e-6, False: recipe.train.learning_rate}


@pytest.mark.train
def test_the_report_says_so(tmp_path):
    from platon_compress.cli import main

    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**RAW, "train": {**RAW["train"], "epochs": 2}}))
    assert main(["run", str(path), "-o", str(tmp_path / "run")]) == 0
    report = " ".join((tmp_path / "run" / "report.md").read_text().split())
    assert "The pruned model continued from the weights of the dense baseline" in report
    assert (
        "trained for 6 and 12 steps respectively; a dense model trained for as long might be better" in report
    )
