"""Attention beside sparse layers becomes our operator with equal numbers; what it does not compute stays standard."""

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from platon_compress.export import export_onnx, open_session
from platon_compress.export.attention_op import AttentionInput, is_attention
from platon_compress.export.config import ExportConfig
from platon_compress.export.operators import OPERATORS
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.swap_attention import SwapAttention
from platon_compress.export.testing import run_sparse_graph, sparse_graph
from platon_compress.formats.csr import CsrWeight
from platon_compress.structure import find_blocks
from platon_compress.testing import tiny_transformer

_RNG = np.random.default_rng(0)
_CONSTANTS = {
    name: (_RNG.standard_normal((16, 16)) * (_RNG.random((16, 16)) < 0.4)).astype(np.float32)
    for name in "abcd"
} | {
    "narrow": _RNG.standard_normal((16, 8)).astype(np.float32),
    "one": np.float32(1), "zero": np.float32(0), "low": np.float32(-1e30), "axes": np.array([1, 2]),
    "unit": np.array([1]), "start": np.int64(0), "step": np.int64(1), "last": np.array([1]), "window": np.int64(2),
}  # fmt: skip
_INPUTS = "float[N, T, 16] x, int64[N, T] attention_mask"
_QKV = "q = MatMul (x, a)\n k = MatMul (x, b)\n v = MatMul (x, c)\n"
_HEADS = "q_num_heads = 2, kv_num_heads = 2"
_END = "h = Attention <" + _HEADS + ", scale = 0.3> (q, k, v{mask})\n y = MatMul (h, d)\n"
_PADDING = (
    "f = Cast <to = 1> (attention_mask)\n o = Sub (one, f)\n u = Unsqueeze (o, axes)\n p = Mul (u, low)\n"
    "t = Shape <start = 1, end = 2> (x)\n rows = Concat <axis = 0> (t, unit)\n"
)
_WINDOW = (
    "n = Squeeze (t)\n key = Range (start, n, step)\n query = Unsqueeze (key, last)\n d0 = Sub (key, query)\n"
    "d1 = Abs (d0)\n far = Greater (d1, window)\n e = Where (far, low, zero)\n m = Add (p, e)\n"
)


def _graph(body, inputs=_INPUTS, sparse="abcd"):
    return sparse_graph(body, inputs, "float[N, T, 16] y", _CONSTANTS, sparse, opset=23)


def _feed(tokens):
    valid = np.ones((2, tokens), np.int64)
    valid[1, (tokens + 1) // 2 :] = 0
    return {"x": _RNG.standard_normal((2, tokens, 16)).astype(np.float32), "attention_mask": valid}


def _operators(model):
    return [node.op_type for node in model.graph]


_MASKS = {
    "none": ("", ""),
    "padding": (_PADDING + "m = Expand (p, rows)\n", ", m"),
    "window": (_PADDING + _WINDOW, ", m"),
    "input": ("m = Expand (bias, rows)\n", ", m"),
}


@pytest.mark.parametrize("mask", list(_MASKS))
def test_equal_numbers_with_and_without_the_library(mask):
    steps, operand = _MASKS[mask]
    inputs, bias = _INPUTS, {}
    if mask == "input":
        steps = _PADDING.split("\n", 4)[4] + steps
        inputs += ", float[N, 2, 1, T] bias"
    body = steps + _QKV + _END.format(mask=operand)
    model = _graph(body, inputs)
    report = apply_rule(SwapAttention(), model.graph)
    assert (report.applied, report.refusals) == (1, ())
    assert [
        is_attention(node) for node in model.graph if "Attention" in node.op_type or is_attention(node)
    ] == [True]
    for tokens in (1, 3, 8, 13, 65):
        feed = _feed(tokens)
        if mask == "input":
            bias = {"bias": _RNG.standard_normal((2, 2, 1, tokens)).astype(np.float32)}
        wanted = run_sparse_graph(_graph(body, inputs), **feed, **bias, use_library=False)
        for use_library in (True, False):
            got = run_sparse_graph(model, **feed, **bias, use_library=use_library)
            seen = (
                feed["attention_mask"] == 1
            )  # nobody reads padded queries, whose windows may be hidden entirely
            np.testing.assert_allclose(got[seen], wanted[seen], atol=2e-5)


def _mask_of(body, inputs=_INPUTS):
    model = _graph(body, inputs)
    assert apply_rule(SwapAttention(), model.graph).applied == 1
    node = next(node for node in model.graph if is_attention(node))
    return node.inputs[AttentionInput.MASK]


def test_a_padding_mask_has_one_row_and_is_written_once():
    value = _mask_of(_PADDING + "m = Expand (p, rows)\n" + _QKV + _END.format(mask=", m"))
    assert [str(size) for size in value.shape] == ["N", "1", "1", "T"]
    again = (
        "h2 = Attention <" + _HEADS + ", scale = 0.2> (q, k, v, m)\n y2 = MatMul (h2, d)\n y = Add (y1, y2)\n"
    )
    body = _PADDING + "m = Expand (p, rows)\n" + _QKV + _END.format(mask=", m").replace("y =", "y1 =") + again
    model = _graph(body)
    assert apply_rule(SwapAttention(), model.graph).applied == 2
    assert len({node.inputs[AttentionInput.MASK] for node in model.graph if is_attention(node)}) == 1


def test_other_masks_stay_but_for_their_expansion():
    value = _mask_of(_PADDING + _WINDOW + _QKV + _END.format(mask=", m"))
    assert value.producer().op_type == "Add"
    rows = _PADDING.split("\n", 4)[4]
    body = rows + "m = Expand (bias, rows)\n" + _QKV + _END.format(mask=", m")
    assert _mask_of(body, _INPUTS + ", float[N, 2, 1, T] bias").name == "bias"


@pytest.mark.parametrize(
    ("body", "inputs", "reason"),
    [
        (_QKV.replace("k = MatMul (x", "k = MatMul (z").replace("v = MatMul (x", "v = MatMul (z")
         + _END.format(mask=""), _INPUTS + ", float[N, S, 16] z", "cross-attention"),
        (_QKV.replace("(x, b)", "(x, narrow)").replace("(x, c)", "(x, narrow)")
         + _END.format(mask="").replace("kv_num_heads = 2", "kv_num_heads = 1"), _INPUTS, "option or a cache"),
        (_QKV + _END.format(mask="").replace("scale", "is_causal = 1, scale"), _INPUTS, "option or a cache"),
        (_QKV + _END.format(mask="").replace("scale", "softcap = 5.0, scale"), _INPUTS, "option or a cache"),
        (_QKV + _END.format(mask="").replace(", scale = 0.3", ""), _INPUTS, "option or a cache"),
    ],
    ids=["cross-attention", "shared keys", "causal", "softcap", "no scale"],
)  # fmt: skip
def test_what_the_operator_does_not_compute_is_refused(body, inputs, reason):
    model = _graph(body, inputs)
    report = apply_rule(SwapAttention(), model.graph)
    assert report.applied == 0
    assert reason in report.refusals[0][1]
    assert not any(is_attention(node) for node in model.graph)


def test_attention_without_sparse_neighbours_stays_standard():
    model = _graph(_QKV + _END.format(mask=""), sparse="")
    report = apply_rule(SwapAttention(), model.graph)
    assert (report.applied, report.refusals) == (0, ())
    assert not any(is_attention(node) for node in model.graph)


@pytest.mark.parametrize("exporter", ["torchscript", pytest.param("dynamo", marks=pytest.mark.dynamo)])
@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "electra", "vit"])
def test_whole_encoders_become_one_node_for_each_half_of_a_block(family, exporter, tmp_path):
    """One product for Q, K and V, no mask with a row per query, and nothing of the block's inside is a tensor."""
    model, inputs = tiny_transformer(family)
    csr = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith(find_blocks(model)):
            module.weight.data *= torch.rand(module.weight.shape) < 0.3
            csr[f"{name}.weight"] = CsrWeight.from_dense(module.weight.detach().numpy())
    compressed = SimpleNamespace(model=model, csr=csr, plan=None)
    result = export_onnx(compressed, tmp_path / "m.onnx", inputs, ExportConfig(exporter=exporter))
    passes, graph = dict(result.passes), onnx.load(result.path).graph
    assert (passes["swap_attention"], passes["stack_projections"]) == (2, 2)
    ours = [node for node in graph.node if node.domain == "platon"]
    assert [OPERATORS[node.op_type].kind for node in ours] == ["SelfAttention", "FeedForward"] * 2
    attentions = [node for node in ours if "num_heads" in {a.name for a in node.attribute}]
    assert all(a.i == 4 for node in attentions for a in node.attribute if a.name == "num_heads")
    if family != "vit":
        made = {output: node.op_type for node in graph.node for output in node.output}
        places = [OPERATORS[node.op_type].inputs.index("mask") for node in attentions]
        masks = {node.input[place] for node, place in zip(attentions, places, strict=True)}
        assert [made[name] for name in masks] == ["Unsqueeze"]
    with torch.no_grad():
        wanted = model(**inputs).logits.numpy()
    feed = {name: value.numpy() for name, value in inputs.items()}
    for use_library in (True, False):
        got = open_session(result.path, use_library=use_library).run(["logits"], feed)[0]
        np.testing.assert_allclose(got, wanted, atol=2e-5)
