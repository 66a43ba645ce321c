"""Spelled-out attention becomes one node, with every mask and scale; what differs stays."""

import numpy as np
import pytest
from graphs import parsed_graph, run_graph

from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.fuse_attention import FuseAttention
from platon_compress.export.passes.swap_last_axes import SwapLastAxes

_SPLIT = "{n}4 = Reshape ({n}, split)\n {n}t = Transpose <perm = [{perm}]> ({n}4)\n"
_Q = _SPLIT.format(n="q", perm="0, 2, 1, 3")
_K = _SPLIT.format(n="k", perm="0, 2, 3, 1")
_V = _SPLIT.format(n="v", perm="0, 2, 1, 3")
_END = "c = MatMul (p, vt)\n m = Transpose <perm = [0, 2, 1, 3]> (c)\n y = Reshape (m, join)\n"
_SOFTMAX = "s = MatMul (qt, kt)\n d = Div (s, root)\n p = Softmax <axis = -1> (d)\n"
_K_TWICE = (
    "k4 = Reshape (k, split)\n k5 = Transpose <perm = [0, 2, 1, 3]> (k4)\n"
    "kt = Transpose <perm = [0, 1, 3, 2]> (k5)\n"
)
_K_FOLDED = (
    "k4 = Reshape (k, split)\n k5 = Transpose <perm = [0, 2, 1, 3]> (k4)\n k6 = Reshape (k5, fold)\n"
    "k7 = Transpose <perm = [0, 2, 1]> (k6)\n kt = Reshape (k7, unfold)\n"
)
_ADD = "s = MatMul (qt, kt)\n d = Div (s, root)\n a = Add (d, mask)\n p = Softmax <axis = -1> (a)\n"
_TWO = _ADD.replace("a = Add (d, mask)", "b = Add (d, near)\n a = Add (b, mask)")
_WHERE = "s = MatMul (qt, kt)\n d = Div (s, root)\n a = Where (keep, d, low)\n p = Softmax <axis = -1> (a)\n"
_WHERE_NOT = _WHERE.replace("(keep, d, low)", "(hide, low, d)")
_BOTH = "e = Mul (qt, half)\n f = Mul (half, kt)\n s = MatMul (e, f)\n p = Softmax <axis = 3> (s)\n"

_CONSTANTS = {
    "split": np.array([0, 0, 2, 4]), "join": np.array([0, 0, 8]), "fold": np.array([-1, 5, 4]),
    "unfold": np.array([3, 2, 4, 5]), "root": np.float32(2), "half": np.float32(0.5),
    "low": np.float32(-3e38), "one": np.float32(1),
    "near": np.random.default_rng(1).standard_normal((1, 2, 5, 5)).astype(np.float32),
}  # fmt: skip
_INPUTS = {"q": "float[3, 5, 8]", "k": "float[3, 5, 8]", "v": "float[3, 5, 8]"}
_MASKS = {"mask": "float[3, 1, 1, 5]", "keep": "bool[3, 1, 1, 5]", "hide": "bool[3, 1, 1, 5]"}


def _model(body, extra="", opset=23):
    masks = {name: kind for name, kind in _MASKS.items() if f"({name}" in body or f" {name})" in body}
    inputs = ", ".join(f"{kind} {name}" for name, kind in (_INPUTS | masks).items())
    return parsed_graph(body, inputs, f"float[3, 5, 8] y{extra}", _CONSTANTS, opset)


def _feed(model):
    generator = np.random.default_rng(0)
    feed = {name: generator.standard_normal((3, 5, 8)).astype(np.float32) for name in _INPUTS}
    hidden = np.zeros((3, 1, 1, 5), bool)
    hidden[0, ..., 3:], hidden[1] = True, True
    feed |= {"mask": hidden * np.finfo(np.float32).min, "keep": ~hidden, "hide": hidden}
    return {value.name: feed[value.name] for value in model.graph.inputs}


def _run(model):
    return run_graph(model, _feed(model))[0]


def _fused(body, extra="", opset=23):
    model = clean(_model(body, extra, opset))
    reports = [apply_rule(rule, model.graph) for rule in (SwapLastAxes(), FuseAttention())]
    return clean(model), reports


def _count(model, op_type):
    return sum(node.op_type == op_type for node in model.graph)


@pytest.mark.parametrize(
    "body",
    [
        _Q + _K + _V + _SOFTMAX + _END,
        _Q + _K_TWICE + _V + _SOFTMAX + _END,
        _Q + _K_FOLDED + _V + _SOFTMAX + _END,
        _Q + _K + _V + _ADD + _END,
        _Q + _K + _V + _ADD.replace("(d, mask)", "(mask, d)") + _END,
        _Q + _K + _V + _TWO + _END,
        _Q + _K + _V + _TWO.replace("(d, near)", "(near, d)").replace("(b, mask)", "(mask, b)") + _END,
        _Q + _K + _V + _TWO.replace("near", "swap").replace("mask", "near").replace("swap", "mask") + _END,
        _Q + _K + _V + _WHERE + _END,
        _Q + _K + _V + _WHERE_NOT + _END,
        _Q + _K + _V + _BOTH + _END,
    ],
    ids=[
        "plain",
        "two transposes",
        "folded K",
        "mask",
        "mask first",
        "bias and mask",
        "mask and bias first",
        "mask, then bias",
        "where",
        "where not",
        "scaled factors",
    ],
)
def test_attention_with_merged_heads(body):
    model, reports = _fused(body)
    assert (reports[1].applied, reports[1].refusals) == (1, ())
    assert (_count(model, "Attention"), _count(model, "MatMul"), _count(model, "Transpose")) == (1, 0, 0)
    np.testing.assert_allclose(_run(model), _run(_model(body)), atol=2e-6)


def test_a_sum_that_is_read_elsewhere_stays():
    body = _Q + _K + _V + _TWO + _END
    model, reports = _fused(body, ", float[3, 2, 5, 5] b")
    assert reports[1].applied == 0
    assert "not one product of queries and keys" in reports[1].refusals[0][1]
    assert _count(model, "Softmax") == 1


def test_a_cast_to_its_own_type_is_in_nobodys_way():
    body = _Q + _K + _V + _SOFTMAX.replace("p =", "r =") + "p = Cast <to = 1> (r)\n" + _END
    model, reports = _fused(body)
    assert (reports[1].applied, _count(model, "Cast"), _count(model, "Attention")) == (1, 0, 1)
    np.testing.assert_allclose(_run(model), _run(_model(body)), atol=2e-6)


def test_rotated_queries_keep_their_heads():
    body = _Q + "qr = Neg (qt)\n" + _K + _V + _ADD.replace("(qt, kt)", "(qr, kt)") + _END
    model, reports = _fused(body)
    assert reports[1].applied == 1
    assert "q_num_heads" not in next(n for n in model.graph if n.op_type == "Attention").attributes
    np.testing.assert_allclose(_run(model), _run(_model(body)), atol=2e-6)


@pytest.mark.parametrize(
    ("body", "extra", "reason"),
    [
        (_Q + _K + _V + _SOFTMAX + _END, ", float[3, 2, 5, 5] p", "read by something other than one product"),
        (
            _Q + _K + _V + _SOFTMAX.replace("Div (s, root)", "Relu (s)") + _END,
            "",
            "not one product of queries",
        ),
        (
            _Q + _K + _V + "vs = Mul (vt, half)\n" + _SOFTMAX + _END.replace("vt", "vs"),
            "",
            "not computed in a form",
        ),
    ],
    ids=["probabilities are an output", "other scores", "scaled values"],
)
def test_other_attention_is_refused_with_a_reason(body, extra, reason):
    model, reports = _fused(body, extra)
    assert reports[1].applied == 0
    assert reason in reports[1].refusals[0][1]
    assert _count(model, "Softmax") == 1


def test_an_earlier_opset_keeps_attention_spelled_out():
    body = _Q + _K + _V + _ADD + _END
    model, reports = _fused(body, opset=22)
    assert reports[1].applied == 0
    assert "needs opset 23" in reports[1].refusals[0][1]
    assert (_count(model, "Softmax"), model.opset_imports[""]) == (1, 22)
    np.testing.assert_allclose(_run(model), _run(_model(body)), atol=2e-6)


def test_other_softmaxes_are_not_looked_at():
    body = "s = Softmax <axis = 1> (q)\n t = Add (s, k)\n y = Add (t, v)\n"
    assert _fused(body)[1][1].refusals == ()


def test_a_reshape_that_mixes_sizes_is_not_a_transpose():
    mixed = _K_FOLDED.replace("fold)", "other)", 1).replace("k7, unfold", "k7, back")
    constants = "other = Constant <value = int64[3] {-1, 10, 2}> ()\n back = Constant <value = int64[4] {3, 2, 4, 5}> ()\n"
    model, reports = _fused(constants + _Q + mixed + _V + _SOFTMAX + _END)
    assert reports[0].applied == 0
    assert "not provably the same" in reports[0].refusals[0][1]
    assert _count(model, "Attention") == 1
