"""Taking over the baseline of an earlier run: only where it was trained alike."""

import pytest
import yaml

from platon_compress.errors import InputError
from platon_compress.pipeline.baseline import baseline_of, baseline_steps
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.stages import stages_of
from platon_compress.recipe import parse_recipe

RECIPE = {
    "model": {"name": "some/model", "task": "text-classification"},
    "data": {"train": "a.tsv", "validation": "b.tsv"},
    "prune": {"sparsity": 0.9},
}
UNLABELLED = {"distill": {"teacher": "t", "labels": False}}


def _earlier(folder, recipe):
    """A run that has finished its dense stage."""
    parsed = parse_recipe(recipe)
    run = RunFolder.open(folder, parsed.kind)
    with run.locked():
        run.remember_recipe(yaml.safe_dump(recipe))
        dense = next(stage for stage in stages_of(parsed) if stage.name == "dense")
        run.finish(dense, 1.0, {"value": 0.9, "steps": 100}, dense.settings(parsed))
    return folder


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ({}, {"prune": {"sparsity": 0.5}}),
        ({}, {"distill": {"weight": 0.5}}),
        ({"distill": {"weight": 0.5}}, {"distill": {"teacher": "t", "temperature": 4}}),
        (UNLABELLED, {**UNLABELLED, "prune": {"sparsity": 0.5}}),
        ({}, {"data": {**RECIPE["data"], "test": "c.tsv"}}),
    ],
)
def test_the_same_training_is_taken_over(tmp_path, before, now):
    source = _earlier(tmp_path / "run", {**RECIPE, **before})
    assert baseline_of(source, parse_recipe({**RECIPE, **now})) == {"value": 0.9, "steps": 100}


@pytest.mark.parametrize(
    ("before", "now", "section"),
    [
        ({}, {"train": {"seed": 2}}, "train"),
        ({}, UNLABELLED, "distill"),
        (UNLABELLED, {}, "distill"),
        (UNLABELLED, {"distill": {"teacher": "other", "labels": False}}, "distill"),
        ({}, {"data": {**RECIPE["data"], "validation": "c.tsv"}}, "data"),
    ],
)
def test_another_training_is_refused(tmp_path, before, now, section):
    """Without labels the baseline learns from the teacher, so the teacher is part of its training."""
    source = _earlier(tmp_path / "run", {**RECIPE, **before})
    with pytest.raises(InputError, match=f"was trained with another {section} section; leave `dense` away"):
        baseline_of(source, parse_recipe({**RECIPE, **now}))


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match=r"holds no run \(no recipe\.yaml\); name the folder of an earlier"):
        baseline_of(tmp_path, parse_recipe(RECIPE))


@pytest.mark.parametrize(
    ("change", "steps"),
    [
        ({}, 12),
        ({"dense": "runs/other"}, 0),
        (UNLABELLED, 12),
        ({"distill": {"teacher": "some/model", "labels": False}}, 0),
    ],
)
def test_steps_are_those_that_this_run_takes(change, steps):
    """100 examples in batches of 32, three times; none where the baseline is another run's or its own teacher."""
    recipe = parse_recipe({**RECIPE, "train": {"epochs": 3, "batch_size": 32}, **change})
    assert baseline_steps(recipe, 100) == steps
