"""Whole runs that take longer: groups instead of elements, and kill -9 in the middle of the training."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from platon_compress.cli import main
from platon_compress.testing import tiny_recipe

pytestmark = pytest.mark.train
RECIPE = tiny_recipe(
    {"hidden_size": 64, "intermediate_size": 256, "num_attention_heads": 4},
    data={"train_rows": 512, "validation_rows": 80},
    train={"epochs": 4, "evaluations": 8},
    prune={"mask_interval": 2},
    plan={"force": None},
)


@pytest.fixture
def recipe_path(tmp_path):
    pytest.importorskip("sklearn")
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(RECIPE))
    return str(path)


@pytest.mark.parametrize("granularity", ["neuron", "head"])
def test_groups_shrink_the_model_and_stay_exact(recipe_path, tmp_path, granularity):
    out = tmp_path / "run"
    sparsity = {"neuron": 0.6, "head": 0.5}[granularity]
    arguments = ["--set", f"prune.granularity={granularity}", "--set", f"prune.sparsity={sparsity}"]
    assert main(["run", recipe_path, "-o", str(out), *arguments]) == 0
    state = json.loads((out / "state.json").read_text())["stages"]
    assert state["convert"]["result"]["removed"]
    assert json.loads((out / "parity.json").read_text())["passed"]
    sizes = {name: (out / "onnx" / f"{name}.onnx").stat().st_size for name in ("dense", "compressed")}
    assert sizes["compressed"] < 0.9 * sizes["dense"]
    plan = json.loads((out / "plan.json").read_text())
    assert any(layer["form"] == "structured" for layer in plan["layers"])


def test_ranking_per_millisecond_uses_the_cost_table(recipe_path, tmp_path):
    out = tmp_path / "run"
    assert main(["prune", recipe_path, "-o", str(out), "--set", "prune.per_millisecond=true"]) == 0
    costs = json.loads((out / "stages" / "prune" / "weight_costs.json").read_text())
    assert sorted(costs) == ["256x64", "64x256", "64x64"]
    assert all(0 < cost < 1e-6 for cost in costs.values())
    result = json.loads((out / "state.json").read_text())["stages"]["prune"]["result"]
    assert result["per_millisecond"] is True
    masks = load_file(out / "stages" / "prune" / "masks.safetensors")
    zeros = sum(int((~mask.astype(bool)).sum()) for mask in masks.values())
    assert zeros == int(0.6 * sum(mask.size for mask in masks.values()))


def test_a_recipe_freezes_and_rewinds(recipe_path, tmp_path, capsys):
    wrong = ["--set", "prune.rewind_to=0.5"]
    assert main(["prune", recipe_path, "-o", str(tmp_path / "x"), *wrong]) == 2
    assert "rewind_to 0.5 rewinds when the mask freezes, but freeze is 0" in capsys.readouterr().err
    arguments = [*wrong, "--set", "prune.freeze=0.25"]
    assert main(["prune", recipe_path, "-o", str(tmp_path / "run"), *arguments]) == 0
    history = json.loads((tmp_path / "run" / "state.json").read_text())["stages"]["prune"]["result"][
        "history"
    ]
    churn = {row["step"]: row["mask_churn"] for row in history if "mask_churn" in row}
    assert [churn[step] for step in churn if step > 49] == [churn[49]] * 15  # the last mask's, of 64 steps


def _command(recipe_path, out):
    return [sys.executable, "-m", "platon_compress", "prune", recipe_path, "-o", str(out)]


def test_a_killed_training_ends_with_the_same_weights(recipe_path, tmp_path):
    """Rule: kill -9 at any moment, the same command again, bit-identical weights and masks."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main(["prune", recipe_path, "-o", str(whole)]) == 0
    process = subprocess.Popen(
        _command(recipe_path, killed), cwd=tmp_path, env={**os.environ, "PYTHONSAFEPATH": "1"}
    )
    checkpoints = killed / "stages" / "prune-checkpoints"
    deadline = time.monotonic() + 300
    while len(list(checkpoints.glob("checkpoint-*/trainer_state.json"))) < 1:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not json.loads((killed / "state.json").read_text())["stages"].get("prune")
    assert main(["prune", recipe_path, "-o", str(killed)]) == 0
    for file in ("model.safetensors", "masks.safetensors"):
        one, other = (load_file(folder / "stages" / "prune" / file) for folder in (whole, killed))
        assert all(np.array_equal(one[name], other[name]) for name in one)
