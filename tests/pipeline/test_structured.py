"""A whole run to a speed-up: heads, neurons and layers go, and stock ONNX Runtime runs what is left."""

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from safetensors.torch import load_file

from platon_compress.measure import half_blocks
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe
from platon_compress.pruning.unit_costs import UnitCosts, curve_name
from platon_compress.recipe import parse_recipe
from platon_compress.testing import tiny_recipe


def _recipe(**prune):
    raw = tiny_recipe()
    raw["prune"] = {
        "granularity": "structured",
        **(prune or {"speedup": 2.5}),
        "mask_interval": 1,
        "beta1": 0.5,
        "beta2": 0.5,
    }
    raw["plan"] = {"calibrate": False, "threads": 1}
    raw["train"]["epochs"] = 4
    return parse_recipe(raw)


def _measure(model, inputs, couplings, *, threads, progress=None):
    """Costs by the size of what is left, so that no test hangs on the machine."""
    del inputs, threads, progress
    curves = {}
    for coupling in couplings:
        width = len(model.get_parameter(f"{coupling.consumer}.weight"))
        counts = half_blocks.counts_to_measure(model, coupling)
        curves[curve_name(coupling, width)] = tuple((n, n * coupling.unit_size / 100) for n in counts)
    return UnitCosts(rest_seconds=0.01, curves=curves)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run, and what its costs were asked for."""
    pytest.importorskip("sklearn")
    asked = []

    def measure(model, inputs, couplings, **given):
        asked.append({name: tuple(value.shape) for name, value in inputs.items()})
        return _measure(model, inputs, couplings, **given)

    output = tmp_path_factory.mktemp("structured") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(half_blocks, "measure_half_blocks", measure)
        run_recipe(_recipe(), output, Reporter(quiet=True))
        yield output, asked


def _stage(output, name):
    return json.loads((output / "state.json").read_text())["stages"][name]["result"]


def test_the_speedup_is_reached_by_the_costs(done):
    result = _stage(done[0], "prune")
    assert result["sparsity_target"] == 1 - 1 / 2.5
    assert result["expected_speedup"] >= 2.5 * (1 - 1e-5)
    assert len(done[1]) == 1


def test_stock_onnx_runtime_runs_the_file(done):
    output = done[0]
    path = output / "onnx" / "compressed.onnx"
    assert all(node.domain in ("", "com.microsoft") for node in onnx.load(path).graph.node)
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    pruned = ort.InferenceSession(str(output / "onnx" / "pruned.onnx"), providers=["CPUExecutionProvider"])
    shape = [2, *session.get_inputs()[0].shape[1:]]
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    name = session.get_inputs()[0].name
    np.testing.assert_allclose(session.run(None, {name: x})[0], pruned.run(None, {name: x})[0], atol=1e-4)
    assert path.stat().st_size < (output / "onnx" / "pruned.onnx").stat().st_size


def test_the_layers_are_smaller_as_the_plan_says(done):
    plan = json.loads((done[0] / "plan.json").read_text())
    assert plan["counts"]["csr"] == 0
    assert any(layer["kept"] for layer in plan["layers"])


def test_the_report_says_it(done):
    text = (done[0] / "report.md").read_text()
    assert "were chosen for 2.5 times the speed of dense" in text
    assert "compressed.onnx contains no sparse layer; stock ONNX Runtime runs it without our library." in text


def test_costs_lie_beside_the_masks(done):
    costs = UnitCosts.from_dict(json.loads((done[0] / "stages" / "prune" / "unit_costs.json").read_text()))
    assert costs.rest_seconds == 0.01


@pytest.mark.slow
def test_a_family_has_members_of_different_speed(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(half_blocks, "measure_half_blocks", _measure)
    output = tmp_path / "run"
    run_recipe(_recipe(family=[0.3, 0.6]), output, Reporter(quiet=True))
    members = json.loads((output / "family.json").read_text())["candidates"]
    assert [member["sparsity"] for member in members] == [0.3, 0.6]
    assert members[0]["expected"]["size_bytes"] > members[1]["expected"]["size_bytes"]
    sizes = [_units(output / "stages" / "prune" / name) for name in ("0.3", "0.6")]
    assert sizes[0] > sizes[1] > 0
    assert _stage(output, "choose")["sparsity"] == 0.6
    assert _stage(output, "prune")["expected_speedup"] >= 2.5 * (1 - 1e-5)
    assert "were chosen for 2.5 times the speed of dense" in (output / "report.md").read_text()


def _units(folder):
    """Weights that the masks of a member keep."""
    return sum(int(mask.sum()) for mask in load_file(folder / "masks.safetensors").values())
