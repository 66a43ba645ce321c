"""Masks that only hide padding are recognised however they are spelled; whatever else a mask does keeps it."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx.reference import ReferenceEvaluator

from platon_compress.export.passes.padding_mask import hides_padding, padding_scores
from platon_compress.export.testing import sparse_graph

_TABLE = np.zeros((1, 1, 300, 300), np.float32)
_TABLE[..., 0, 299] = -1e30
_CONSTANTS = {
    "one": np.float32(1), "zero": np.float32(0), "low": np.float32(-1e30), "weak": np.float32(-100),
    "old": np.float32(-10000), "tenth": np.float32(0.1), "axes": np.array([1, 2]), "unit": np.array([1]),
    "heads": np.array([2]), "last": np.array([1]), "start": np.int64(0), "step": np.int64(1),
    "per_head": np.array([[[[0.0]], [[0.1]]]], np.float32), "window_3": np.int64(3), "window_100": np.int64(100),
    "window_5000": np.int64(5000), "table": _TABLE, "ends": np.array([2**63 - 1]), "starts": np.array([0]),
    "scalar": np.zeros(0, np.int64),
}  # fmt: skip
_FLOAT = (
    "f = Cast <to = 1> (attention_mask)\n o = Sub (one, f)\n u = Unsqueeze (o, axes)\n p = Mul (u, low)\n"
)
_BOOL = "b = Cast <to = 9> (attention_mask)\n u = Unsqueeze (b, axes)\n p = Where (u, zero, low)\n"
_SIZE = "t = Shape <start = 1, end = 2> (x)\n"
_ROWS = _SIZE + "rows = Concat <axis = 0> (t, unit)\n m = Expand (p, rows)\n"
_PLACES = (
    _SIZE + "n = Squeeze (t)\n key = Range (start, n, step)\n query = Unsqueeze (key, last)\n"
    "d = Sub (key, query)\n distance = Abs (d)\n"
)
_WINDOW = _PLACES + "far = Greater (distance, {w})\n e = Where (far, low, zero)\n m = Add (p, e)\n"
_FILLED = "filled = ConstantOfShape <value: tensor = int64[1] {100}> (scalar)\n"


def _graph(body, kind="int64", inputs="", mask_shape="N, T"):
    given = f"{kind}[{mask_shape}] attention_mask, float[N, T, 4] x{inputs}"
    return sparse_graph(body, given, "float[N, h, r, T] m", _CONSTANTS).graph


@pytest.mark.parametrize(
    "body",
    [
        _FLOAT.replace("p =", "m ="),
        _FLOAT.replace("low", "old").replace("p =", "m ="),
        _BOOL.replace("p =", "m ="),
        _FLOAT + _ROWS,
        _BOOL + _ROWS,
        _FLOAT + _SIZE + "rows = Concat <axis = 0> (heads, t, unit)\n m = Expand (p, rows)\n",
        _FLOAT + _PLACES + "far = Less (distance, start)\n e = Where (far, low, zero)\n m = Add (p, e)\n",
        _FLOAT + "m = Slice (p, starts, ends)\n",
    ],
    ids=["product", "-10000", "where", "rows", "where and rows", "heads", "never far", "slice to the end"],
)
@pytest.mark.parametrize("kind", ["int64", "int32", "bool", "float"])
def test_pure_padding_masks(body, kind):
    graph = _graph(body, kind)
    assert hides_padding(graph.outputs[0], graph)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        (_FLOAT + _PLACES + "far = Greater (d, start)\n e = Where (far, low, zero)\n m = Add (p, e)\n", ""),
        (_FLOAT + _WINDOW.format(w="window_3"), ""),
        (_FLOAT + _WINDOW.format(w="window_100"), ""),
        (_FLOAT + _WINDOW.format(w="window_5000"), ""),
        (_FLOAT + _FILLED + _WINDOW.format(w="filled"), ""),
        (_FLOAT + "m = Add (p, table)\n", ""),
        (_FLOAT + "m = Add (p, per_head)\n", ""),
        (_FLOAT + _PLACES + "s = Cast <to = 1> (d)\n e = Mul (s, tenth)\n m = Add (p, e)\n", ""),
        (_FLOAT + "m = Add (p, bias)\n", ", float[N, 1, T, T] bias"),
        (_FLOAT.replace("Mul (u, low)", "Mul (u, weak)").replace("p =", "m ="), ""),
        (_BOOL.replace("zero, low", "low, zero").replace("p =", "m ="), ""),
        (
            _FLOAT + "i = Cast <to = 1> (ids)\n v = Unsqueeze (i, axes)\n m = Add (p, v)\n",
            ", int64[N, T] ids",
        ),
        ("m = Unsqueeze (attention_bias, axes)\n", ", float[N, T] attention_bias"),
    ],
    ids=[
        "causal", "window of 3", "window of 100", "window of 5000", "filled window", "table", "per head", "distance",
        "float input", "weak", "inverted", "token ids", "another input",
    ],
)  # fmt: skip
def test_other_masks(body, inputs):
    graph = _graph(body, inputs=inputs)
    assert not hides_padding(graph.outputs[0], graph)


def test_masks_that_the_evaluator_cannot_run():
    body = _FLOAT + _SIZE + "wrong = Concat <axis = 0> (t, t, t, t, t)\n m = Expand (p, wrong)\n"
    graph = _graph(body)
    assert not hides_padding(graph.outputs[0], graph)


def test_a_mask_per_query_is_no_padding_mask():
    graph = _graph("f = Unsqueeze (attention_mask, unit)\n m = Cast <to = 1> (f)\n", "int64", "", "N, T, T")
    assert not hides_padding(graph.outputs[0], graph)


@pytest.mark.parametrize("kind", ["int64", "int32", "bool", "float"])
def test_the_scores_that_replace_it(kind):
    model = sparse_graph(
        _FLOAT + _ROWS, f"{kind}[N, T] attention_mask, float[N, T, 4] x", "float[N, 1, T, T] m", _CONSTANTS
    )
    scores = padding_scores(model.graph)
    assert hides_padding(scores, model.graph)
    scores.name = "scores"
    model.graph.outputs[0] = scores
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    valid = np.array([[1, 1, 0, 1], [1, 0, 0, 0]])
    feed = {
        "attention_mask": valid.astype(model.graph.inputs[0].dtype.numpy()),
        "x": np.zeros((2, 4, 4), np.float32),
    }
    result = ReferenceEvaluator(proto).run(None, feed)[0]
    assert result.dtype == np.float32
    assert np.array_equal(result, np.where(valid, 0, np.float32(-1e30))[:, None, None])
