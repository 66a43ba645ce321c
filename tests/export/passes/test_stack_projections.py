"""Q, K and V become one product where only one attention reads them; numbers stay, refusals have a reason."""

import numpy as np
import pytest

from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.stack_projections import StackProjections
from platon_compress.export.passes.swap_attention import SwapAttention
from platon_compress.export.sparse_linear import Input, is_sparse_linear
from platon_compress.export.testing import run_sparse_graph, sparse_graph

_RNG = np.random.default_rng(0)
_WEIGHTS = {
    name: (_RNG.standard_normal((16, 16)) * (_RNG.random((16, 16)) < density)).astype(np.float32)
    for name, density in {"a": 0.4, "b": 0.1, "c": 0.7, "d": 0.4, "e": 0.2}.items()
}
_CONSTANTS = _WEIGHTS | {
    "n": (_RNG.standard_normal((16, 8)) * (_RNG.random((16, 8)) < 0.4)).astype(np.float32),
    "b0": _RNG.standard_normal(16).astype(np.float32),
    "b1": _RNG.standard_normal(16).astype(np.float32),
}
_QKV = "q = MatMul (x, a)\n k = MatMul (x, b)\n v = MatMul (x, c)\n"
_BIASES = (
    "q0 = MatMul (x, a)\n q = Add (q0, b0)\n k = MatMul (x, b)\n v0 = MatMul (x, c)\n v = Add (v0, b1)\n"
)
_END = "h = Attention <q_num_heads = 2, kv_num_heads = 2, scale = 0.3> (q, k, v)\n y = MatMul (h, d)\n"
_TWICE = (
    _QKV
    + _END.replace("y =", "w =")
    + (_QKV.replace(", b)", ", {k})") + _END)
    .replace("q =", "q2 =").replace("k =", "k2 =").replace("v =", "v2 =").replace("(x,", "(w,")
    .replace("(q, k, v)", "(q2, k2, v2)").replace("h =", "h2 =").replace("(h,", "(h2,")
)  # fmt: skip


def _graph(body, output="float[N, T, 16] y"):
    model = sparse_graph(body, "float[N, T, 16] x", output, _CONSTANTS, "abcden", opset=23)
    assert apply_rule(SwapAttention(), model.graph).applied > 0
    return model


def _inputs(tokens):
    """Small ones: the scores of large ones let a softmax multiply the rounding errors of any kernel."""
    return (0.1 * _RNG.standard_normal((2, tokens, 16))).astype(np.float32)


def _layers(model):
    return [node for node in model.graph if is_sparse_linear(node)]


@pytest.mark.parametrize("body", [_QKV + _END, _BIASES + _END], ids=["no biases", "some biases"])
def test_one_product_with_equal_numbers(body):
    model = _graph(body)
    report = apply_rule(StackProjections(), model.graph)
    assert (report.applied, report.refusals) == (1, ())
    stacked, _ = _layers(model)
    assert stacked.attributes["out_features"].as_int() == 48
    assert stacked.inputs[Input.VALUES].shape[0] == sum((_WEIGHTS[name] != 0).sum() for name in "abc")
    assert (len(stacked.inputs) > Input.BIAS) == ("b0" in body)
    for tokens in (1, 3, 13, 65):
        x = _inputs(tokens)
        wanted = run_sparse_graph(_graph(body), x, use_library=False)
        for use_library in (True, False):
            np.testing.assert_allclose(run_sparse_graph(model, x, use_library=use_library), wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("key", "arrays"), [("b", 1), ("e", 2)], ids=["all weights shared", "Q and V shared"]
)
def test_blocks_that_share_weights(key, arrays):
    """Stacked arrays are named after Q: two blocks may share Q alone."""
    body = _TWICE.format(k=key)
    model = _graph(body)
    assert apply_rule(StackProjections(), model.graph).applied == 2
    stacked = [n for n in _layers(model) if n.attributes["out_features"].as_int() == 48]
    assert len({node.inputs[Input.VALUES] for node in stacked}) == arrays
    x = _inputs(9)
    wanted = run_sparse_graph(_graph(body), x, use_library=False)
    np.testing.assert_allclose(run_sparse_graph(model, x, use_library=True), wanted, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("body", "output", "reason"),
    [
        (_QKV + _END, "float[N, T, 16] y, float[N, T, 16] k", "another reader"),
        (_QKV + _END.replace("y =", "z =") + "y = Add (z, q)\n", "float[N, T, 16] y", "another reader"),
        (_QKV.replace("(x, c)", "(x, n)") + _END.replace("MatMul (h, d)", "Relu (h)"), "float[N, T, 8] y",
         "different sizes"),
        (_QKV.replace("v = MatMul (x", "r = Relu (x)\n v = MatMul (r") + _END, "float[N, T, 16] y",
         "different activations"),
        (_QKV.replace("v =", "v0 =") + "v = Relu (v0)\n" + _END, "float[N, T, 16] y", "epilogue"),
    ],
    ids=["graph output", "other reader", "sizes", "activations", "epilogue"],
)  # fmt: skip
def test_other_projections_are_refused_with_a_reason(body, output, reason):
    model = _graph(body, output)
    before = len(_layers(model))
    report = apply_rule(StackProjections(), model.graph)
    assert report.applied == 0
    assert reason in report.refusals[0][1]
    assert len(_layers(model)) == before


def test_a_computed_bias_is_refused():
    model = _graph(_BIASES + _END)
    layer = _layers(model)[0]
    computed = sparse_graph("y = Neg (x)", "float[16] x", "float[16] y", {}).graph.outputs[0]
    layer.replace_input_with(Input.BIAS, computed)
    report = apply_rule(StackProjections(), model.graph)
    assert report.applied == 0
    assert "computed bias" in report.refusals[0][1]


def test_a_dense_projection_is_none_of_ours():
    model = sparse_graph(_QKV + _END, "float[N, T, 16] x", "float[N, T, 16] y", _CONSTANTS, "abd", opset=23)
    assert apply_rule(SwapAttention(), model.graph).applied == 1
    report = apply_rule(StackProjections(), model.graph)
    assert (report.applied, report.refusals) == (0, ())
