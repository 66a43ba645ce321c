"""Lookup tables in pieces: the same numbers, no piece above the limit, tables with other readers stay whole."""

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest

from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.model_file import unique_node_names
from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.clean import tidy
from platon_compress.export.passes.split_tables import PIECE_BYTES, SplitTables
from platon_compress.testing import tiny_transformer

_ROWS, _COLUMNS = 40, 10


def _model(body, output="float[B, T, 10] y", extra=""):
    table = np.random.default_rng(0).standard_normal((_ROWS, _COLUMNS)).astype(np.float32)
    text = f'<ir_version: 10, opset_import: ["" : 18]> g (int64[B, T] ids{extra}) => ({output}) {{ {body} }}'
    proto = onnx.parser.parse_model(text)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(table, "words"))
    return clean(ir.from_proto(proto)), table


def _run(model, feed):
    unique_node_names(model.graph)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feed)


def _sizes(model):
    return {value.name: value.const_value.nbytes for value in model.graph.initializers.values()}


@pytest.mark.parametrize(
    ("piece_bytes", "columns"), [(800, (5, 5)), (799, (4, 3, 3)), (400, (2,) * 5), (8, (1,) * 10)]
)
def test_pieces_hold_all_columns(piece_bytes, columns):
    model, table = _model("y = Gather (words, ids)")
    assert apply_rule(SplitTables(piece_bytes), model.graph).applied == 1
    tidy(model)
    assert _sizes(model) == {f"words.{n}": 4 * _ROWS * width for n, width in enumerate(columns)}
    ids = np.array([[3, 0], [39, -1]])
    assert np.array_equal(_run(model, {"ids": ids})[0], table[ids])
    assert apply_rule(SplitTables(piece_bytes), model.graph).applied == 0


def test_lookups_share_the_pieces():
    body = "a = Gather (words, ids) b = Neg (ids) c = Gather (words, b) y = Add (a, c)"
    model, table = _model(body)
    assert apply_rule(SplitTables(800), model.graph).applied == 2
    tidy(model)
    assert set(_sizes(model)) == {"words.0", "words.1"}
    ids = np.array([[3, 7]])
    assert np.array_equal(_run(model, {"ids": ids})[0], table[ids] + table[-ids])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Gather (words, ids) b = Mul (words, x) c = ReduceSum (b) y = Add (a, c)", "is read as a whole too"),
        ("a = Gather (words, ids) b = Gather <axis = 1> (words, z) c = ReduceSum (b) y = Add (a, c)", "as a whole"),
    ],
)  # fmt: skip
def test_a_table_with_other_readers_stays(body, reason):
    model, _ = _model(body, extra=", int64[N] z, float[10] x")
    report = apply_rule(SplitTables(800), model.graph)
    assert report.applied == 0
    assert len(report.refusals) == 1
    assert reason in report.refusals[0][1]
    assert _sizes(model)["words"] == 4 * _ROWS * _COLUMNS


@pytest.mark.parametrize("axis", [0, 1])
def test_small_tables_and_lookups_of_columns_stay(axis):
    model, _ = _model(f"y = Gather <axis = {axis}> (words, ids)", output="float[P, Q, R] y")
    assert apply_rule(SplitTables(1600 if axis == 0 else 800), model.graph).applied == 0


def test_an_exported_model_with_a_large_vocabulary(tmp_path):
    """The word table alone is above the limit; the outputs are the same to the bit."""
    model, inputs = tiny_transformer("bert")
    model.resize_token_embeddings(PIECE_BYTES // 4 // 32 + 1000, mean_resizing=False)
    split = export_onnx(model, tmp_path / "split.onnx", inputs)
    whole = export_onnx(model, tmp_path / "whole.onnx", inputs, ExportConfig(skip_passes=("split_tables",)))
    assert dict(split.passes)["split_tables"] == 1
    assert "split_tables" not in dict(whole.passes)
    feed = {name: value.numpy() for name, value in inputs.items()}
    first, second = (
        ort.InferenceSession(str(result.path), providers=["CPUExecutionProvider"]).run(None, feed)
        for result in (split, whole)
    )
    assert np.array_equal(first[0], second[0])
