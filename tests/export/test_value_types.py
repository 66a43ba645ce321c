"""Weights of which the plan makes 8-bit numbers: the file, the file before rounding, and blocks of both types."""

import json
from dataclasses import replace

import numpy as np
import onnx
import pytest
from compressed_models import baked_and_converted, first_output
from onnx import numpy_helper
from thinned import thinned

from platon_compress.compressed import load_compressed, save_compressed
from platon_compress.errors import InputError
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.gaps import decode_gaps
from platon_compress.export.operators import OPERATORS

_CASES = {
    "all": lambda name: True,
    "none": lambda name: False,
    "queries alone": lambda name: "query" in name or "q_lin" in name,
    "attention alone": lambda name: "attention" in name,
    "up alone": lambda name: "intermediate" in name or "lin1" in name,
    "down alone": lambda name: "attention" not in name and ("output" in name or "lin2" in name),
    "first block": lambda name: "layer.0." in name,
}


def _converted(family, wanted):
    _, made, inputs = baked_and_converted(family, "int8")
    assert made.int8 == made.csr.keys()
    return replace(made, int8=frozenset(filter(wanted, made.csr))), inputs


def _weighted(path):
    """Operator by the name of the node, of those with weights."""
    nodes = onnx.load(path).graph.node
    return {
        n.name: OPERATORS[n.op_type] for n in nodes if n.domain == "platon" and OPERATORS[n.op_type].weights
    }


@pytest.mark.parametrize(
    ("case", "family"),
    thinned(
        [*((case, "bert") for case in _CASES), ("attention alone", "vit"), ("up alone", "distilbert")],
        every=3,
    ),
)
def test_the_planned_weights_and_no_others(case, family, tmp_path):
    compressed, inputs = _converted(family, _CASES[case])
    result = export_onnx(compressed, tmp_path / "planned.onnx", inputs, unrounded=tmp_path / "unrounded.onnx")
    operators = _weighted(tmp_path / "planned.onnx")
    rounded = {name for name, operator in operators.items() if operator.encoding != "csr"}
    assert set(result.int8_nodes) == rounded
    assert set(result.sparse_nodes) == operators.keys()
    dense = export_onnx(compressed, tmp_path / "float32.onnx", inputs, ExportConfig(values="float32"))
    exact = first_output(tmp_path / "float32.onnx", inputs)
    ours, stock = (first_output(tmp_path / "planned.onnx", inputs, use_library=u) for u in (True, False))
    if not compressed.int8:
        assert not rounded
        assert not (tmp_path / "unrounded.onnx").exists()
        assert result.unrounded_bytes is None
        assert dense.int8_nodes == ()
        assert np.array_equal(ours, exact)
        return
    assert rounded
    assert (rounded == operators.keys()) == (case == "all")
    before = _weighted(tmp_path / "unrounded.onnx")
    assert before.keys() == operators.keys()
    assert {operator.encoding for operator in before.values()} == {"csr"}
    assert [(o.kind, o.parts) for o in before.values()] == [(o.kind, o.parts) for o in operators.values()]
    assert result.unrounded_bytes == (tmp_path / "unrounded.onnx").stat().st_size
    size = np.linalg.norm(exact)
    for library in (True, False):
        unrounded = first_output(tmp_path / "unrounded.onnx", inputs, use_library=library)
        assert np.abs(unrounded - exact).max() < 1e-4
    assert 0 < np.linalg.norm(ours - exact) < 0.1 * size
    assert np.linalg.norm(ours - stock) < 0.02 * size


def test_what_is_stored_counts_the_planned_weights_alone(tmp_path):
    """As many places as the noted weights have non-zeros: no float copy of them stays."""
    compressed, inputs = _converted("bert", _CASES["queries alone"])
    export_onnx(compressed, tmp_path / "planned.onnx", inputs)
    graph = onnx.load(tmp_path / "planned.onnx").graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    int8 = floats = 0
    for node in (node for node in graph.node if node.domain == "platon" and OPERATORS[node.op_type].weights):
        operator = OPERATORS[node.op_type]
        named = dict(zip(operator.inputs, node.input, strict=True))
        bits = {attribute.name: attribute.i for attribute in node.attribute}
        for weight in operator.weights:
            if operator.quantized:
                gaps = arrays[named[f"{weight.prefix}gaps"]]
                int8 += decode_gaps(gaps, bits[f"{weight.prefix}gap_bits"]).size
            else:
                floats += arrays[named[f"{weight.prefix}values"]].size
    wanted = sum(weight.nnz for name, weight in compressed.csr.items() if name in compressed.int8)
    assert 0.9 * wanted < int8 <= wanted
    assert floats == sum(weight.nnz for weight in compressed.csr.values()) - wanted


def test_the_plan_travels_with_the_folder(tmp_path):
    compressed, inputs = _converted("bert", _CASES["attention alone"])
    folder = save_compressed(compressed, tmp_path / "compressed")
    again = load_compressed(folder)
    assert again.int8 == compressed.int8
    for name, model in (("one", compressed), ("two", again)):
        export_onnx(model, tmp_path / f"{name}.onnx", inputs)
    assert _weighted(tmp_path / "one.onnx") == _weighted(tmp_path / "two.onnx")
    ours, again = (first_output(tmp_path / f"{name}.onnx", inputs) for name in ("one", "two"))
    assert np.abs(ours - again).max() < 1e-5


def test_a_folder_that_rounds_what_is_no_csr_is_refused(tmp_path):
    compressed, _ = _converted("bert", _CASES["all"])
    folder = save_compressed(compressed, tmp_path / "compressed")
    config = json.loads((folder / "config.json").read_text())
    config["compression_config"]["int8"].append("elsewhere.weight")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"'elsewhere\.weight' is listed as int8, but not as CSR"):
        load_compressed(folder)


@pytest.mark.parametrize("config", [{"remove_padding": True}, {"opset": 20}, {"graph_passes": False}])
def test_other_exports(config, tmp_path):
    compressed, inputs = _converted("bert", _CASES["all"])
    export_onnx(compressed, tmp_path / "int8.onnx", inputs, ExportConfig(**config))
    assert all(operator.encoding != "csr" for operator in _weighted(tmp_path / "int8.onnx").values())
    ours, stock = (first_output(tmp_path / "int8.onnx", inputs, use_library=u) for u in (True, False))
    assert np.linalg.norm(ours - stock) < 0.02 * np.linalg.norm(ours)


@pytest.mark.dynamo
def test_the_other_exporter(tmp_path):
    compressed, inputs = _converted("bert", _CASES["all"])
    export_onnx(compressed, tmp_path / "int8.onnx", inputs, ExportConfig(exporter="dynamo"))
    operators = _weighted(tmp_path / "int8.onnx").values()
    assert operators
    assert all(operator.encoding != "csr" for operator in operators)
