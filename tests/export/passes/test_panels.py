"""Activations stay in the kernel's layout between sparse layers only, and the numbers stay the same."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from platon_compress.export.passes import clean, swap_sparse_weights
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.keep_panels import KeepPanels
from platon_compress.export.passes.share_packed import SharePacked
from platon_compress.export.passes.swap_attention import SwapAttention
from platon_compress.export.testing import run_sparse_graph, sparse_graph
from platon_compress.formats.csr import CsrWeight

_RNG = np.random.default_rng(0)
_WEIGHTS = {
    name: (_RNG.standard_normal((16, 16)) * (_RNG.random((16, 16)) < 0.3)).astype(np.float32)
    for name in "abc"
}
_CHAIN = "h = MatMul (x, a)\n r = Relu (h)\n y = MatMul (r, b)\n"
_TRIPLE = "q = MatMul (x, a)\n k = MatMul (x, b)\n v = MatMul (x, c)\n s = Mul (q, k)\n t = Add (s, v)\n y = Add (t, x)\n"


def _sparse(body):
    text = (
        f'<ir_version: 10, opset_import: ["" : 18]> g (float[N, T, 16] x) => (float[N, T, 16] y) {{\n{body}}}'
    )
    proto = onnx.parser.parse_model(text)
    used = [name for name in _WEIGHTS if f", {name})" in body]
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(_WEIGHTS[n], n) for n in used)
    model = clean(ir.from_proto(proto))
    swap_sparse_weights(model, {f"{n}.weight": CsrWeight.from_dense(_WEIGHTS[n].T) for n in used})
    return model


def _layouts(model):
    layers = [node.attributes for node in model.graph if node.op_type == "SparseLinear"]
    sides = ("input_layout", "output_layout")
    return [tuple(a[side].as_string() if side in a else "" for side in sides) for a in layers]


@pytest.mark.parametrize("tokens", [1, 7, 8, 64, 65, 130])
@pytest.mark.parametrize(
    "body", [_CHAIN, _TRIPLE, _TRIPLE + "z = MatMul (y, a)\n"], ids=["chain", "triple", "both"]
)
def test_same_numbers_with_and_without_the_library(tokens, body):
    if "z =" in body:
        body = body.replace("y = Add (t, x)", "w = Add (t, x)").replace(
            "z = MatMul (y, a)", "y = MatMul (w, a)"
        )
    x = _RNG.standard_normal((2, tokens, 16)).astype(np.float32)
    wanted = run_sparse_graph(_sparse(body), x, use_library=False)
    model = _sparse(body)
    assert sum(apply_rule(rule(), model.graph).applied for rule in (KeepPanels, SharePacked)) > 0
    for use_library in (True, False):
        np.testing.assert_allclose(run_sparse_graph(model, x, use_library=use_library), wanted, atol=2e-5)


def test_a_chain_keeps_panels_in_between():
    model = _sparse(_CHAIN)
    assert apply_rule(KeepPanels(), model.graph).applied == 1
    assert _layouts(model) == [("", "panels"), ("panels", "")]
    assert apply_rule(SharePacked(), model.graph).applied == 0


def test_layers_on_one_input_share_one_packing():
    model = _sparse(_TRIPLE)
    assert apply_rule(KeepPanels(), model.graph).applied == 0
    assert apply_rule(SharePacked(), model.graph).applied == 1
    assert [node.op_type for node in model.graph].count("PackTokens") == 1
    assert _layouts(model) == [("panels", "")] * 3


@pytest.mark.parametrize(
    "body",
    [
        "h = MatMul (x, a)\n i = MatMul (h, b)\n y = Add (i, h)\n",
        "h = MatMul (x, a)\n i = Neg (h)\n y = MatMul (i, b)\n",
        "y = MatMul (x, a)\n",
    ],
    ids=["other reader", "something in between", "single layer"],
)
def test_other_layers_keep_tokens(body):
    model = _sparse(body)
    assert [apply_rule(rule(), model.graph).applied for rule in (KeepPanels, SharePacked)] == [0, 0]
    assert set(_layouts(model)) == {("", "")}


_ATTENTION = (
    "q = MatMul (x, a)\n k = MatMul (x, b)\n v = {v}\n"
    "h = Attention <q_num_heads = 2, kv_num_heads = 2, scale = 0.3> (q, k, v)\n y = MatMul (h, a)\n"
)


def _attention(values, output="float[N, T, 16] y"):
    body = _ATTENTION.format(v=values)
    model = sparse_graph(body, "float[N, T, 16] x", output, _WEIGHTS, "abc", opset=23)
    assert apply_rule(SwapAttention(), model.graph).applied == 1
    return model


def _attention_layouts(model):
    attributes = next(node for node in model.graph if node.op_type == "Attention").attributes
    return [s for s in ("input", "output") if f"{s}_layout" in attributes]


@pytest.mark.parametrize("tokens", [1, 3, 4, 13, 65])
def test_attention_between_sparse_layers_keeps_panels(tokens):
    model = _attention("MatMul (x, c)")
    assert apply_rule(KeepPanels(), model.graph).applied == 4  # three projections and the attention itself
    assert _attention_layouts(model) == ["input", "output"]
    assert _layouts(model) == [("", "panels")] * 3 + [("panels", "")]
    x = _RNG.standard_normal((2, tokens, 16)).astype(np.float32)
    wanted = run_sparse_graph(_attention("MatMul (x, c)"), x, use_library=False)
    for use_library in (True, False):
        np.testing.assert_allclose(run_sparse_graph(model, x, use_library=use_library), wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("values", "output"),
    [("Relu (x)", "float[N, T, 16] y"), ("MatMul (x, c)", "float[N, T, 16] y, float[N, T, 16] k")],
    ids=["dense values", "keys leave the graph"],
)
def test_attention_reads_all_operands_alike(values, output):
    model = _attention(values, output)
    assert apply_rule(KeepPanels(), model.graph).applied == 1
    assert _attention_layouts(model) == ["output"]
    assert {own for _, own in _layouts(model)} == {""}
    x = _RNG.standard_normal((2, 13, 16)).astype(np.float32)
    wanted = run_sparse_graph(_attention(values, output), x, use_library=False)
    np.testing.assert_allclose(run_sparse_graph(model, x, use_library=True), wanted, atol=2e-5)
