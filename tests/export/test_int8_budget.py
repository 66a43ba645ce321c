"""What 8-bit weights may change of the outputs: the costliest operators keep floats until the rest is within it."""

import numpy as np
import onnx_ir as ir
import pytest
from compressed_models import baked_and_converted, padded_batches
from thinned import thinned

from platon_compress.errors import InputError
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.outputs import distance, onnx_outputs
from platon_compress.export.quantize import rounded_operators
from platon_compress.export.rounding import is_rounding_of
from platon_compress.export.sensitivity import operator_costs
from platon_compress.progress import Steps

BATCHES = padded_batches(4)


def exported(folder, budget, batches=BATCHES):
    """(result, relative error of the file's outputs, where it has 8-bit weights)"""
    _, made, inputs = baked_and_converted("bert", "int8")
    config = ExportConfig(int8_budget=budget, skip_passes=("equalise_inputs",))
    paths = folder / "int8.onnx", folder / "float32.onnx"
    result = export_onnx(made, paths[0], inputs, config, unrounded=paths[1], calibration=batches)
    if not paths[1].exists():
        return result, 0.0
    ours, exact = (onnx_outputs(path, batches, use_library=True) for path in paths)
    return result, distance(exact, ours, batches).relative_error


@pytest.fixture
def free(tmp_path):
    """(error with every operator rounded, cost of each alone, the costliest first)"""
    _, error = exported(tmp_path, None)
    exact = onnx_outputs(tmp_path / "float32.onnx", BATCHES, use_library=True)
    operators = rounded_operators(ir.load(tmp_path / "int8.onnx"))
    costs = operator_costs(operators, tmp_path / "float32.onnx", BATCHES, exact, Steps(4, None))
    return error, {cost.operator: cost.relative_error for cost in costs}


@pytest.mark.parametrize("share", thinned([0.9, 0.7], every=2))
def test_the_costliest_keep_floats(free, share, tmp_path):
    whole, costs = free
    folder = tmp_path / "held"
    folder.mkdir()
    result, error = exported(folder, share * whole)
    assert 0 < error <= share * whole
    kept = [name for name in costs if name not in result.int8_nodes]
    assert 0 < len(kept) < len(costs)
    assert kept == list(costs)[: len(kept)]
    assert [name for name, _ in result.skipped] == kept
    assert all(
        "keeps float32 values, 8-bit values of it alone change" in reason for _, reason in result.skipped
    )
    # One operator fewer in floats would be too much, as expected or as measured.
    more = np.linalg.norm(list(costs.values())[len(kept) - 1 :])
    assert more > 0.9 * share * whole
    assert is_rounding_of(folder / "int8.onnx", folder / "float32.onnx")


def test_nothing_is_kept_that_fits(free, tmp_path):
    result, error = exported(tmp_path, 1.0)
    assert error == pytest.approx(free[0])
    assert result.skipped == ()


def test_everything_is_kept_where_nothing_fits(tmp_path):
    result, _ = exported(tmp_path, 1e-9)
    assert result.int8_nodes == ()
    assert len(result.skipped) == len(result.sparse_nodes)
    assert result.unrounded_bytes is None
    assert not (tmp_path / "float32.onnx").exists()


def test_a_budget_needs_examples(tmp_path):
    with pytest.raises(InputError, match="int8_budget is measured on examples; give export_onnx some"):
        exported(tmp_path, 0.01, ())


@pytest.mark.parametrize("budget", [0, -1, 1.5, float("nan"), "0.1"])
def test_budgets_that_mean_nothing(budget):
    with pytest.raises(InputError, match="int8_budget must be above 0 and at most 1"):
        ExportConfig(int8_budget=budget)
