"""Lookup tables as 8-bit rows: near to the table, in standard operators; tables with other readers stay."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import array_bytes, checked_proto, lookup_graph, run_proto
from onnx.reference import ReferenceEvaluator

from platon_compress.errors import InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.clean import tidy
from platon_compress.export.passes.quantize_tables import LEAST_ROWS, QuantizeTables, quantize_table
from platon_compress.export.passes.split_tables import SplitTables
from platon_compress.export.rounding import is_rounding_of
from platon_compress.measure.size import measure_size
from platon_compress.testing import tiny_transformer

_ROWS, _COLUMNS = LEAST_ROWS + 1, 10


def _run(model, feed):
    """The first output, which is the one that onnx defines."""
    proto = checked_proto(model)
    ours, defined = run_proto(proto, feed)[0], ReferenceEvaluator(proto).run(None, feed)[0]
    assert np.array_equal(ours, defined)
    return ours


def test_rows_of_every_kind():
    table = np.array([[0, 0, 0], [1, -2, 0.004], [1e-44, 0, 0], [3e38, -3e38, 1e37]], np.float32)
    rows, scales = quantize_table(table)
    assert rows.dtype == np.int8
    assert scales.shape == (4, 1)
    assert scales.dtype == np.float32
    assert np.isfinite(scales).all()
    assert (scales > 0).all()
    assert (abs(rows * scales - table) <= 0.500001 * scales).all()
    assert rows[1].tolist() == [64, -127, 0]


def test_a_lookup_is_near():
    model, table = lookup_graph("y = Gather (words, ids)", _ROWS)
    assert apply_rule(QuantizeTables(), model.graph).applied == 1
    tidy(model)
    assert array_bytes(model) == {"words_quantized": _ROWS * _COLUMNS, "words_scale": 4 * _ROWS}
    ids = np.array([[3, 0], [1000, -1]])
    found = _run(model, {"ids": ids})
    limit = abs(table[ids]).max(-1, keepdims=True) / 127 * 0.500001
    assert (abs(found - table[ids]) <= limit).all()


def test_lookups_share_the_rows():
    body = "a = Gather (words, ids) b = Neg (ids) c = Gather (words, b) y = Add (a, c)"
    model, table = lookup_graph(body, _ROWS)
    rule = QuantizeTables()
    assert apply_rule(rule, model.graph).applied == 2
    assert list(rule.tables) == ["words"]
    tidy(model)
    assert set(model.graph.initializers) == {"words_quantized", "words_scale"}
    ids = np.array([[3, 7]])
    np.testing.assert_allclose(_run(model, {"ids": ids}), table[ids] + table[-ids], atol=0.04)


@pytest.mark.parametrize(
    ("body", "change", "reason"),
    [
        ("a = Gather (words, ids) b = Mul (words, x) c = ReduceSum (b) y = Add (a, c)", 0, "is read as a whole too"),
        ("a = Gather (words, ids) b = Gather <axis = 1> (words, z) c = ReduceSum (b) y = Add (a, c)", 0, "as a whole"),
        ("y = Gather (words, ids)", np.inf, "words holds NaN or infinity"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_rounded_stays(body, change, reason):
    model, table = lookup_graph(body, _ROWS, extra=", int64[N] z, float[10] x")
    table[3, 3] = change
    model.graph.initializers["words"].const_value = ir.tensor(table)
    report = apply_rule(QuantizeTables(), model.graph)
    assert report.applied == 0
    assert len(report.refusals) == 1
    assert reason in report.refusals[0][1]
    assert "words" in model.graph.initializers


def test_small_tables_and_lookups_of_columns_stay():
    for rows, axis in ((LEAST_ROWS, 0), (_ROWS, 1)):
        model, _ = lookup_graph(f"y = Gather <axis = {axis}> (words, ids)", rows, output="float[P, Q, R] y")
        report = apply_rule(QuantizeTables(), model.graph)
        assert (report.applied, report.refusals) == (0, ())


def _exported(tmp_path, rows, **settings):
    model, inputs = tiny_transformer("bert")
    model.resize_token_embeddings(rows, mean_resizing=False)
    results = [
        export_onnx(model, tmp_path / "float32.onnx", inputs, ExportConfig(**settings)),
        export_onnx(
            model,
            tmp_path / "int8.onnx",
            inputs,
            ExportConfig(embeddings="int8", **settings),
            unrounded=tmp_path / "unrounded.onnx",
        ),
    ]
    feed = {name: value.numpy() for name, value in inputs.items()}
    exact, rounded, before = (
        open_session(tmp_path / f"{name}.onnx", use_library=False).run(None, feed)[0]
        for name in ("float32", "int8", "unrounded")
    )
    assert np.array_equal(exact, before)
    assert 0 < np.linalg.norm(rounded - exact) < 0.02 * np.linalg.norm(exact)
    return results


@pytest.mark.parametrize("graph_passes", [True, False])
def test_an_exported_model(graph_passes, tmp_path):
    dense, int8 = _exported(tmp_path, 5000, graph_passes=graph_passes)
    assert (dense.int8_tables, dense.unrounded_bytes) == ((), None)
    assert int8.int8_tables == ("bert.embeddings.word_embeddings.weight",)
    assert int8.unrounded_bytes == pytest.approx(dense.size_bytes, rel=1e-3)
    saved = 5000 * (32 * 3 - 4)
    assert dense.size_bytes - int8.size_bytes == pytest.approx(saved, rel=0.02)
    sizes = [measure_size(result.path) for result in (dense, int8)]
    assert sizes[0].embedding_bytes - sizes[1].embedding_bytes == saved
    assert sizes[0].parameters == sizes[1].parameters


@pytest.mark.parametrize(("skipped", "columns"), [((), [16, 16]), (("split_tables",), [32])])
def test_a_table_that_is_large_even_so_is_split(skipped, columns, tmp_path, monkeypatch):
    monkeypatch.setattr(SplitTables.__init__, "__defaults__", (2**20,))
    rows = 2**20 // 32 + 1000
    _, int8 = _exported(tmp_path, rows, skip_passes=skipped)
    tensors = onnx.load(int8.path).graph.initializer
    pieces = [list(tensor.dims) for tensor in tensors if tensor.data_type == onnx.TensorProto.INT8]
    assert pieces == [[rows, count] for count in columns]
    assert is_rounding_of(int8.path, tmp_path / "unrounded.onnx")


def test_a_model_without_a_large_table_says_so(tmp_path):
    model, inputs = tiny_transformer("vit")
    config = ExportConfig(embeddings="int8")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, config, unrounded=tmp_path / "unrounded.onnx")
    assert result.int8_tables == ()
    assert result.unrounded_bytes is None
    assert not (tmp_path / "unrounded.onnx").exists()
    assert dict(result.skipped)["embeddings"].startswith("no lookup table has more than 1000 rows")


def test_other_types_are_refused():
    with pytest.raises(InputError, match="embeddings must be float32, int8 or auto, got 'int4'"):
        ExportConfig(embeddings="int4")
