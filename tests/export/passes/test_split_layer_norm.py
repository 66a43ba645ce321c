"""LayerNormalization in its faster spelling: same numbers, and only where it applies."""

import numpy as np
import pytest
from graphs import parsed_graph, run_graph

from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.split_layer_norm import SplitLayerNorm

_RNG = np.random.default_rng(0)
_ARRAYS = {"g": _RNG.standard_normal(16).astype(np.float32), "b": _RNG.standard_normal(16).astype(np.float32)}
_NORM = "y = LayerNormalization <axis = -1, epsilon = 1e-12> (x, g, b)\n"


def _model(body, kind="float[B, T, 16]"):
    return parsed_graph(body, f"{kind} x", "float[A, C, D] y", _ARRAYS)


def _run(model, x):
    return run_graph(model, {"x": x})[0]


def _split(body, kind="float[B, T, 16]"):
    model = clean(_model(body, kind))
    return model, apply_rule(SplitLayerNorm(), model.graph)


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 7), (3, 5)])
@pytest.mark.parametrize("body", [_NORM, _NORM.replace(", b)", ")"), _NORM.replace("axis = -1", "axis = 2")])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_same_numbers(batch, tokens, body, offset):
    x = (_RNG.standard_normal((batch, tokens, 16)) + offset).astype(np.float32)
    model, report = _split(body)
    assert report.applied == 1
    assert "LayerNormalization" not in [node.op_type for node in model.graph]
    centred = x.astype(np.float64) - x.astype(np.float64).mean(-1, keepdims=True)
    wanted = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12) * _ARRAYS["g"]
    wanted = wanted + _ARRAYS["b"] if ", b" in body else wanted
    np.testing.assert_allclose(_run(model, x), wanted, atol=5e-5 if offset else 2e-6)
    np.testing.assert_allclose(_run(_model(body), x), wanted, atol=5e-5 if offset else 2e-6)


def test_vectors_of_ones_are_shared():
    body = "a = LayerNormalization <axis = -1> (x, g, b)\n c = Add (a, x)\n y = LayerNormalization <axis = -1> (c, g, b)\n"
    model, report = _split(body)
    assert report.applied == 2
    assert sum(node.op_type == "ConstantOfShape" for node in model.graph) == 2


def test_known_token_counts_use_constants():
    model, _ = _split(_NORM, "float[B, 5, 16]")
    assert [node.op_type for node in model.graph] == ["InstanceNormalization", "Mul", "Add"]


@pytest.mark.parametrize(
    ("body", "kind", "reason"),
    [
        (_NORM, "float[T, 16]", r"not known to be \[batch, tokens, features\]"),
        ("y = LayerNormalization <axis = 1> (x, g2)\n", "float[B, 4, 16]", "more than the last axis"),
        (
            "s = Abs (g0)\n y = LayerNormalization <axis = -1> (x, s)\n",
            "float[B, 4, 16]",
            "computed at run time",
        ),
    ],
)
def test_other_norms_are_refused_with_a_reason(body, kind, reason):
    inputs = {"g2": ", float[4, 16] g2", "g0": ", float[16] g0"}
    extra = "".join(text for name, text in inputs.items() if name in body)
    model = parsed_graph(body, f"{kind} x{extra}", "float y", _ARRAYS)
    report = apply_rule(SplitLayerNorm(), model.graph)
    assert report.applied == 0
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(report.refusals[0][1])
