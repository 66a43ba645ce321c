"""8-bit weights in a file: what is stored, that both ways to run it agree, and how far it is from float32."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from compressed_models import baked_and_converted, first_output
from onnx import TensorProto, helper, numpy_helper
from packed_layers import layer_file
from thinned import thinned

from platon_compress.errors import InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.export.gaps import LARGEST, decode_gaps, unpack_values
from platon_compress.export.model_file import weight_bytes
from platon_compress.export.operators import OPERATORS
from platon_compress.export.quantize import gap_arrays, quantize_file, quantize_rows, quantize_weights
from platon_compress.formats.csr import CsrWeight


def _operators(path):
    return [node.op_type for node in onnx.load(path).graph.node if node.domain == "platon"]


def test_rows_of_every_kind():
    dense = np.array([[0, 0, 0], [1, -2, 0.01], [1e-44, 0, 0], [3e38, -3e38, 0], [5, 5, 5]], np.float32)
    csr = CsrWeight.from_dense(dense)
    values, columns, row_starts, scales = quantize_rows(csr.values, csr.columns, csr.row_starts)
    assert values.dtype == np.int8
    assert scales.dtype == np.float32
    assert (scales > 0).all()
    assert np.isfinite(scales).all()
    assert row_starts.tolist() == [0, 0, 2, 2, 4, 7]  # 0.01 and 1e-44 become zeros
    back = np.zeros_like(dense)
    rows = np.repeat(np.arange(5), np.diff(row_starts))
    back[rows, columns] = values * scales[rows]
    assert (abs(back - dense) <= scales[:, None] * 0.500001).all()
    assert abs(values).max() == LARGEST
    assert (values != 0).all()


@pytest.mark.parametrize("family", thinned(["bert", "deberta-v3", "vit", "distilbert"], every=2))
def test_a_file_with_and_without_the_library(family, tmp_path):
    _, compressed, inputs = baked_and_converted(family)
    export_onnx(compressed, tmp_path / "float.onnx", inputs)
    export_onnx(compressed, tmp_path / "int8.onnx", inputs, ExportConfig(values="int8"))
    names = _operators(tmp_path / "int8.onnx")
    assert [name.replace("gaps_int8", "csr") for name in names] == _operators(tmp_path / "float.onnx")
    assert all(name.endswith("_int8") for name in names if OPERATORS[name].weights)
    exact = first_output(tmp_path / "float.onnx", inputs)
    ours, stock = (first_output(tmp_path / "int8.onnx", inputs, use_library=u) for u in (True, False))
    size = np.linalg.norm(exact)
    assert np.linalg.norm(ours - stock) < 0.01 * size
    assert 0 < np.linalg.norm(ours - exact) < 0.1 * size


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_attention_in_8_bits(family, tmp_path):
    """Near to the file whose attention alone is in floats, with the library and without; nothing else is touched."""
    _, compressed, inputs = baked_and_converted(family)
    for attention in ("float32", "int8"):
        config = ExportConfig(values="int8", attention=attention)
        export_onnx(compressed, tmp_path / f"{attention}.onnx", inputs, config)
    before, after = (_operators(tmp_path / f"{attention}.onnx") for attention in ("float32", "int8"))
    assert [OPERATORS[name].int8_attention for name in after] == [True, False] * 2
    assert [re.sub("_(full|mask)_int8", r"_\1", name) for name in after] == before
    exact = first_output(tmp_path / "float32.onnx", inputs)
    ours, stock = (first_output(tmp_path / "int8.onnx", inputs, use_library=u) for u in (True, False))
    size = np.linalg.norm(exact)
    assert np.linalg.norm(ours - stock) < 0.01 * size
    assert 0 < np.linalg.norm(ours - exact) < 0.05 * size


def test_attention_between_whole_columns_stays_in_floats(tmp_path):
    _, compressed, inputs = baked_and_converted("bert")
    export_onnx(compressed, tmp_path / "float.onnx", inputs)
    quantize_file(tmp_path / "float.onnx", tmp_path / "c.onnx", encoding="csr_int8", attention="int8")
    assert not any(OPERATORS[name].int8_attention for name in _operators(tmp_path / "c.onnx"))


def test_what_is_stored(tmp_path):
    _, compressed, inputs = baked_and_converted("bert")
    export_onnx(compressed, tmp_path / "int8.onnx", inputs, ExportConfig(values="int8"))
    graph = onnx.load(tmp_path / "int8.onnx").graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    read = {name for node in graph.node for name in node.input}
    assert set(arrays) <= read  # the float values are gone
    for node in graph.node:
        operator = OPERATORS.get(node.op_type) if node.domain == "platon" else None
        for weight in operator.weights if operator else ():
            named = dict(zip(operator.inputs, node.input, strict=True))
            packed, gaps, scales = (arrays[named[n]] for n in weight.arrays("gaps_int8"))
            attributes = {attribute.name: attribute.i for attribute in node.attribute}
            positions = decode_gaps(gaps, attributes[f"{weight.prefix}gap_bits"])
            assert packed.size == 7 * -(-positions.size // 8)
            assert 0 < abs(unpack_values(packed, positions.size)).max() <= LARGEST
            assert positions[-1] < weight.elements(attributes)
            assert scales.shape == (weight.rows[0] * attributes[weight.rows[1]],)


@pytest.mark.parametrize(
    "settings", [{"encoding": "csr_int8"}, {"gap_bits": [1]}, {"gap_bits": [6]}], ids=str
)
def test_every_encoding_says_the_same(settings, tmp_path):
    _, compressed, inputs = baked_and_converted("bert")
    export_onnx(compressed, tmp_path / "float.onnx", inputs)
    quantize_file(tmp_path / "float.onnx", tmp_path / "smallest.onnx")
    quantize_file(tmp_path / "float.onnx", tmp_path / "other.onnx", **settings)
    assert weight_bytes(ir.load(tmp_path / "smallest.onnx")) < weight_bytes(ir.load(tmp_path / "other.onnx"))
    for library in (True, False):
        answers = [
            first_output(tmp_path / name, inputs, use_library=library)
            for name in ("smallest.onnx", "other.onnx")
        ]
        assert np.array_equal(*answers)


def test_nodes_that_share_a_weight_share_it_still():
    weight = CsrWeight.from_dense(np.eye(4, dtype=np.float32))
    arrays = {"values": weight.values, "columns": weight.columns, "row_starts": weight.row_starts}
    constants = [
        numpy_helper.from_array(a, n) for n, a in {**arrays, "bias": np.zeros(4, np.float32)}.items()
    ]
    nodes = [
        helper.make_node(
            "PlatonLinear_plain_csr",
            [x, *arrays, "bias"],
            [y],
            domain="platon",
            in_features=4,
            out_features=4,
        )
        for x, y in (("X", "H"), ("H", "Y"))
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("X", "Y")]
    graph = helper.make_graph(nodes, "shared", values[:1], values[1:], constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    model = ir.serde.deserialize_model(helper.make_model(graph, opset_imports=opsets, ir_version=10))
    assert quantize_weights(model) == 2
    assert len(model.graph.initializers) == 4
    assert quantize_weights(model) == 0


@pytest.mark.parametrize("threads", [1, 2])
def test_one_layer_is_equal_bit_by_bit_in_both(threads, tmp_path):
    """Rows with NaN and infinity, of equal values, of zeros and of tiny ones too."""
    operator = OPERATORS["PlatonLinear_plain_csr_int8"]
    rng = np.random.default_rng(0)
    dense = (rng.standard_normal((70, 300)) * (rng.random((70, 300)) < 0.2)).astype(np.float32)
    csr = CsrWeight.from_dense(dense)
    arrays = [
        *quantize_rows(csr.values, csr.columns, csr.row_starts),
        rng.standard_normal(70).astype(np.float32),
    ]
    named = dict(zip(operator.inputs[1:], arrays, strict=True))
    onnx.save(layer_file(operator, named, {"in_features": 300, "out_features": 70}), tmp_path / "one.onnx")
    x = (rng.standard_normal((130, 300)) * 10.0 ** rng.integers(-3, 4, (130, 1))).astype(np.float32)
    x[0, 5], x[1, 6], x[2, 7] = np.nan, np.inf, -np.inf
    x[3], x[4], x[5], x[6] = 0, -2.5, 1e-33, abs(x[6])
    ours, stock = (
        open_session(tmp_path / "one.onnx", use_library=library, threads=threads).run(None, {"X": x})[0]
        for library in (True, False)
    )
    assert np.isnan(ours[:3]).all()
    assert np.isfinite(ours[3:]).all()
    assert np.array_equal(ours, stock, equal_nan=True)


def test_a_file_that_exists_is_quantized_to_the_same(tmp_path):
    _, compressed, inputs = baked_and_converted("bert")
    export_onnx(compressed, tmp_path / "float.onnx", inputs)
    export_onnx(compressed, tmp_path / "int8.onnx", inputs, ExportConfig(values="int8"))
    count = quantize_file(tmp_path / "float.onnx", tmp_path / "made.onnx")
    assert count == sum(name.endswith("_gaps_int8") for name in _operators(tmp_path / "made.onnx"))
    for library in (True, False):
        answers = [
            first_output(tmp_path / name, inputs, use_library=library) for name in ("int8.onnx", "made.onnx")
        ]
        assert np.array_equal(*answers)
    functions = {function.name for function in onnx.load(tmp_path / "made.onnx").functions}
    assert functions == set(_operators(tmp_path / "made.onnx"))
    with pytest.raises(InputError, match=r"made\.onnx holds no sparse float weights to quantize"):
        quantize_file(tmp_path / "made.onnx", tmp_path / "again.onnx")
    assert not (tmp_path / "again.onnx").exists()


@pytest.mark.parametrize("setting", ["values", "attention"])
def test_other_value_types_are_refused(setting):
    with pytest.raises(InputError, match=f"{setting} must be float32 or int8, got 'int4'"):
        ExportConfig(**{setting: "int4"})


def test_only_the_wanted_operators_are_turned(tmp_path):
    _, compressed, inputs = baked_and_converted("bert")
    export_onnx(compressed, tmp_path / "float.onnx", inputs)
    model = ir.load(tmp_path / "float.onnx")
    count = quantize_weights(model, lambda node: "FeedForward" in node.op_type)
    names = [node.op_type for node in model.graph if node.domain == "platon"]
    turned = [name for name in names if name.endswith("_gaps_int8")]
    assert 0 < len(turned) == count < len(names)
    assert all("FeedForward" in name for name in turned)
    assert {identifier[1] for identifier in model.functions} == set(names)


def test_a_matrix_that_is_too_large_is_refused():
    """Places in it would not fit in 32 bits."""
    none, starts = np.zeros(0, np.int8), np.zeros(2, np.int32)
    assert gap_arrays(none, none, starts, 2**31 - 2048)[1].size == 0
    with pytest.raises(InputError, match=r"a weight of 1 x 2147481601 is too large for 8-bit values"):
        gap_arrays(none, none, starts, 2**31 - 2047)
