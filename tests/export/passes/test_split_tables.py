"""Lookup tables in pieces: the same numbers, no piece above the limit, tables with other readers stay whole."""

import numpy as np
import onnxruntime as ort
import pytest
from graphs import array_bytes, lookup_graph, run_graph

from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.clean import tidy
from platon_compress.export.passes.split_tables import PIECE_BYTES, SplitTables
from platon_compress.testing import tiny_transformer

_ROWS, _COLUMNS = 40, 10


@pytest.mark.parametrize(
    ("piece_bytes", "columns"), [(800, (5, 5)), (799, (4, 3, 3)), (400, (2,) * 5), (8, (1,) * 10)]
)
def test_pieces_hold_all_columns(piece_bytes, columns):
    model, table = lookup_graph("y = Gather (words, ids)", _ROWS)
    assert apply_rule(SplitTables(piece_bytes), model.graph).applied == 1
    tidy(model)
    assert array_bytes(model) == {f"words.{n}": 4 * _ROWS * width for n, width in enumerate(columns)}
    ids = np.array([[3, 0], [39, -1]])
    assert np.array_equal(run_graph(model, {"ids": ids})[0], table[ids])
    assert apply_rule(SplitTables(piece_bytes), model.graph).applied == 0


def test_lookups_share_the_pieces():
    body = "a = Gather (words, ids) b = Neg (ids) c = Gather (words, b) y = Add (a, c)"
    model, table = lookup_graph(body, _ROWS)
    assert apply_rule(SplitTables(800), model.graph).applied == 2
    tidy(model)
    assert set(array_bytes(model)) == {"words.0", "words.1"}
    ids = np.array([[3, 7]])
    assert np.array_equal(run_graph(model, {"ids": ids})[0], table[ids] + table[-ids])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("a = Gather (words, ids) b = Mul (words, x) c = ReduceSum (b) y = Add (a, c)", "is read as a whole too"),
        ("a = Gather (words, ids) b = Gather <axis = 1> (words, z) c = ReduceSum (b) y = Add (a, c)", "as a whole"),
    ],
)  # fmt: skip
def test_a_table_with_other_readers_stays(body, reason):
    model, _ = lookup_graph(body, _ROWS, extra=", int64[N] z, float[10] x")
    report = apply_rule(SplitTables(800), model.graph)
    assert report.applied == 0
    assert len(report.refusals) == 1
    assert reason in report.refusals[0][1]
    assert array_bytes(model)["words"] == 4 * _ROWS * _COLUMNS


@pytest.mark.parametrize("axis", [0, 1])
def test_small_tables_and_lookups_of_columns_stay(axis):
    model, _ = lookup_graph(f"y = Gather <axis = {axis}> (words, ids)", _ROWS, output="float[P, Q, R] y")
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
