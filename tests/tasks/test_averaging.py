"""The mean of the weights over the last steps under one mask: which steps, the zeros, a resume, a family's candidates."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig
from platon_compress.pruning.held import held_config
from platon_compress.tasks.averaging import WeightAverage, averaged_spans
from platon_compress.testing import tiny_recipe

CUBIC = {"sparsity": 0.6, "total_steps": 100, "mask_interval": 2}


@pytest.mark.parametrize(
    ("config", "spans"),
    [
        (None, ((91, 100),)),
        (PruneConfig(**CUBIC, freeze_steps=30), ((91, 100),)),
        (PruneConfig(**CUBIC, freeze_steps=6), ((95, 100),)),
        (PruneConfig(**CUBIC, schedule="one_shot"), ((91, 100),)),
        (held_config({"a": torch.eye(4, dtype=torch.bool)}, 100), ((91, 100),)),
        # 83 steps of one sparsity and holds from 24 to 40 and from 77 on
        (PruneConfig(**CUBIC, family=(0.4, 0.6)), ((33, 40), (93, 100))),
    ],
    ids=["dense", "frozen", "frozen later", "one_shot", "held", "family"],
)
def test_only_steps_under_one_mask_are_averaged(config, spans):
    assert averaged_spans(0.1, 100, config) == spans
    assert averaged_spans(0.0, 100, config) == ()


def test_a_mask_that_never_stays_is_refused():
    with pytest.raises(
        InputError, match=r"train\.average 0\.1 averages weights under one mask, and the mask never"
    ):
        averaged_spans(0.1, 100, PruneConfig(**CUBIC))


def _walk(average, model, steps, changed=()):
    """The weight is the number of the step."""
    for step in steps:
        with torch.no_grad():
            model.weight.fill_(step)
            model.weight[0, 0] = 0
        average.update(step, changed=step in changed)


def test_the_mean_is_that_of_the_span_and_zeros_stay():
    model = nn.Linear(2, 2, bias=False)
    average = WeightAverage(model, ((3, 5), (8, 10)))
    _walk(average, model, range(1, 3))
    assert average.steps == 0
    _walk(average, model, range(3, 8))
    with average.in_place():
        assert model.weight.tolist() == [[0, 4], [4, 4]]
    assert model.weight.tolist() == [[0, 7], [7, 7]]
    _walk(average, model, range(8, 11))
    average.take_over()
    assert model.weight.tolist() == [[0, 9], [9, 9]]
    assert average.steps == 3


def test_another_mask_begins_anew_and_a_step_counts_once():
    model = nn.Linear(2, 2, bias=False)
    average = WeightAverage(model, ((3, 10),))
    _walk(average, model, range(3, 10), changed=(8,))
    _walk(average, model, [9])
    assert average.steps == 2
    average.take_over()
    assert model.weight[1, 1] == 8.5


def test_nothing_to_average_changes_nothing(tmp_path):
    model = nn.Linear(2, 2, bias=False)
    average = WeightAverage(model, ())
    _walk(average, model, range(1, 5))
    with average.in_place():
        assert model.weight[1, 1] == 4
    average.take_over()
    average.save(tmp_path)
    average.load(tmp_path, 5)
    assert model.weight[1, 1] == 4
    assert not list(tmp_path.iterdir())


def test_a_mean_goes_through_its_file(tmp_path):
    model, whole = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    _walk(average := WeightAverage(model, ((3, 9),)), model, range(1, 6))
    average.save(tmp_path)
    resumed = WeightAverage(model, ((3, 9),))
    resumed.load(tmp_path, 5)
    _walk(resumed, model, range(6, 10))
    _walk(never := WeightAverage(whole, ((3, 9),)), whole, range(1, 10))
    resumed.take_over()
    never.take_over()
    assert torch.equal(model.weight, whole.weight)
    assert resumed.steps == never.steps == 7


@pytest.mark.parametrize("spoil", ["gone", "torn", "other model"])
def test_a_damaged_mean_is_one_line(tmp_path, spoil):
    model = nn.Linear(2, 2, bias=False)
    _walk(average := WeightAverage(model, ((3, 9),)), model, range(3, 6))
    average.save(tmp_path)
    path = tmp_path / "average.safetensors"
    if spoil == "gone":
        path.unlink()
    elif spoil == "torn":
        path.write_bytes(path.read_bytes()[:-4])
    other = nn.Linear(3, 2) if spoil == "other model" else model
    with pytest.raises(
        InputError, match=r"average\.safetensors holds no mean of these weights .*; take another"
    ) as caught:
        WeightAverage(other, ((3, 9),)).load(tmp_path, 5)
    assert "\n" not in str(caught.value)


_KILLED = """
import os, sys
from platon_compress.tasks import averaging
whole = averaging.WeightAverage.save
def save(self, folder):
    whole(self, folder)
    if self.steps and "prune" in str(folder) and not folder.name.endswith("-" + sys.argv[1]):
        seal = folder.parent / "complete"
        seal.touch()
    elif "prune" in str(folder) and (folder.parent / "complete").exists():
        os.kill(os.getpid(), 9)
averaging.WeightAverage.save = save
from platon_compress.cli import main
sys.exit(main(sys.argv[2:]))
"""


def _run(recipe, folder):
    from platon_compress.cli import main

    return main(["run", str(recipe), "-o", str(folder)])


def _weights(run):
    return {
        p.parent.name: load_file(p) for p in sorted((run / "stages" / "prune").rglob("model.safetensors"))
    }


def _recipe(path, **prune):
    sections = tiny_recipe(
        data={"train_rows": 256}, train={"epochs": 3, "evaluations": 12, "average": 0.25}, prune=prune
    )
    path.write_text(yaml.safe_dump(json.loads(json.dumps(sections))))
    return path


@pytest.mark.train
def test_a_run_killed_within_the_average_ends_in_the_same_bits(tmp_path):
    """24 steps, a checkpoint every other one, the mean over the last 6; killed at the last checkpoint of the pruning."""
    recipe = _recipe(tmp_path / "recipe.yaml", freeze=0.3)
    assert _run(recipe, tmp_path / "whole") == 0
    results = json.loads((tmp_path / "whole" / "state.json").read_text())["stages"]
    assert results["dense"]["result"]["averaged_steps"] == results["prune"]["result"]["averaged_steps"] == 6
    assert "averaged over the last 6 training steps" in (tmp_path / "whole" / "report.md").read_text()
    masks = load_file(tmp_path / "whole" / "stages" / "prune" / "masks.safetensors")
    whole = _weights(tmp_path / "whole")["prune"]
    assert all(torch.equal(whole[name] != 0, mask) for name, mask in masks.items())
    words = ["run", str(recipe), "-o", str(tmp_path / "cut")]
    killed = subprocess.run(
        [sys.executable, "-P", "-c", _KILLED, "24", *words],
        capture_output=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert killed.returncode == -9, killed.stderr.decode()
    assert _run(recipe, tmp_path / "cut") == 0
    cut = _weights(tmp_path / "cut")["prune"]
    assert all(torch.equal(tensor, cut[name]) for name, tensor in whole.items())


@pytest.mark.train
def test_the_candidates_of_a_family_are_means_too(tmp_path):
    """Each differs from the run without averaging, with the same masks: the training itself goes on as it would."""
    from platon_compress.pipeline.reporter import Reporter
    from platon_compress.pipeline.runner import run_recipe
    from platon_compress.recipe import load_recipe

    recipe = load_recipe(_recipe(tmp_path / "recipe.yaml", family=[0.4, 0.6], sparsity=0.6))
    plain = recipe.model_copy(update={"train": recipe.train.model_copy(update={"average": 0.0})})
    for name, one in (("mean", recipe), ("plain", plain)):
        run_recipe(one, tmp_path / name, Reporter(quiet=True), until="prune")
    means, plains = _weights(tmp_path / "mean"), _weights(tmp_path / "plain")
    assert sorted(means) == sorted(plains) == ["0.4", "0.6"]
    for member, weights in means.items():
        masks = load_file(tmp_path / "plain" / "stages" / "prune" / member / "masks.safetensors")
        for name, mask in masks.items():
            assert torch.equal(weights[name] != 0, mask)
        assert any(not torch.equal(weights[name], plains[member][name]) for name in masks)
