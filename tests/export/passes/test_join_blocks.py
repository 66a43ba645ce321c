"""A block's half becomes one node where nothing else reads its inside; numbers stay, every tensor is plain rows."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from thinned import thinned

from platon_compress.export import export_onnx, session_options
from platon_compress.export.functions import attach_functions
from platon_compress.export.operators import OPERATORS
from platon_compress.export.passes import rewrite_graph
from platon_compress.export.testing import run_sparse_graph, sparse_graph
from platon_compress.formats.csr import CsrWeight
from platon_compress.structure import find_blocks
from platon_compress.testing import tiny_transformer

_RNG = np.random.default_rng(0)
_CONSTANTS = {
    name: (_RNG.standard_normal((16, 16)) * (_RNG.random((16, 16)) < 0.4)).astype(np.float32)
    for name in "abcdef"
} | {name: _RNG.standard_normal(16).astype(np.float32) for name in ("scale", "shift", "bias")}
_NORM = "LayerNormalization <axis = -1, epsilon = 1e-6>"
_HEADS = "Attention <q_num_heads = 2, kv_num_heads = 2, scale = 0.3>"
_QKV = "q = MatMul ({x}, a)\n k = MatMul ({x}, b)\n v = MatMul ({x}, c)\n"
_POST = (
    _QKV.format(x="x") + f"h = {_HEADS} (q, k, v)\n o = MatMul (h, d)\n s = Add (o, x)\n"
    f"n = {_NORM} (s, scale, shift)\n z = MatMul (n, e)\n zb = Add (z, bias)\n r = Relu (zb)\n w = MatMul (r, f)\n"
    f"t = Add (w, n)\n y = {_NORM} (t, scale)\n"
)
_PRE = (
    f"i = {_NORM} (x, scale, shift)\n" + _QKV.format(x="i") + f"h = {_HEADS} (q, k, v)\n o = MatMul (h, d)\n"
    f"s = Add (o, x)\n n = {_NORM} (s, scale)\n g = MatMul (n, e)\n r = Relu (g)\n w = MatMul (r, f)\n t = Add (w, s)\n"
)
_ENDS = {"sum": "y = Identity (t)\n", "norm": f"y = {_NORM} (t, scale, shift)\n"}
_BODIES = {
    "post": (_POST,
             ["PlatonSelfAttention_full_residual_norm_csr", "PlatonFeedForward_relu_residual_norm_csr"]),
    "pre": (_PRE + _ENDS["sum"],
            ["PlatonSelfAttention_full_prenorm_csr", "PlatonFeedForward_relu_prenorm_csr"]),
    "pre, norm behind": (_PRE + _ENDS["norm"],
                         ["PlatonSelfAttention_full_prenorm_csr", "PlatonFeedForward_relu_prenorm_norm_csr"]),
}  # fmt: skip


def _graph(body, output="float[N, T, 16] y", sparse="abcdef", opset=23):
    return sparse_graph(body, "float[N, T, 16] x", output, _CONSTANTS, sparse, opset=opset)


def _ours(model):
    attach_functions(model)
    return [node.op_type for node in model.graph if node.op_type in OPERATORS]


@pytest.mark.parametrize("tokens", [1, 5, 8, 13, 65])
@pytest.mark.parametrize("case", list(_BODIES))
def test_equal_numbers_with_and_without_the_library(case, tokens):
    body, names = _BODIES[case]
    model = _graph(body)
    rewrite_graph(model)
    assert _ours(model) == names
    x = _RNG.standard_normal((2, tokens, 16)).astype(np.float32)
    wanted = run_sparse_graph(_graph(body, sparse=""), x, use_library=False)
    for use_library in (True, False):
        np.testing.assert_allclose(run_sparse_graph(model, x, use_library=use_library), wanted, atol=5e-5)


@pytest.mark.parametrize(
    ("body", "sparse", "output", "names"),
    [
        (_POST, "abcde", "float[N, T, 16] y", ["PlatonLinear_relu_csr"]),
        (_POST, "abcdf", "float[N, T, 16] y", ["PlatonLinear_residual_norm_csr"]),
        (_POST, "abcdef", "float[N, T, 16] y, float[N, T, 16] r",
         ["PlatonLinear_relu_csr", "PlatonLinear_residual_norm_csr"]),
    ],
    ids=["dense behind", "dense in front", "the inside leaves the graph"],
)  # fmt: skip
def test_other_layers_stay_single(body, sparse, output, names):
    model = _graph(body, output, sparse)
    rewrite_graph(model)
    assert _ours(model) == ["PlatonSelfAttention_full_residual_norm_csr", *names]
    x = _RNG.standard_normal((2, 13, 16)).astype(np.float32)
    wanted = run_sparse_graph(_graph(body, sparse=""), x, use_library=False)
    for use_library in (True, False):
        np.testing.assert_allclose(run_sparse_graph(model, x, use_library=use_library), wanted, atol=5e-5)


def test_a_dense_value_keeps_attention_and_its_layers_apart():
    body = _POST
    model = _graph(body, sparse="abdef")
    rewrite_graph(model)
    assert _ours(model) == [
        "PlatonLinear_plain_csr",
        "PlatonLinear_plain_csr",
        "PlatonHeads_separate_full",
        "PlatonLinear_residual_norm_csr",
        "PlatonFeedForward_relu_residual_norm_csr",
    ]


def test_a_norm_that_others_read_too_stays_in_front():
    body = _PRE + "y = Add (t, n)\n"
    model = _graph(body)
    rewrite_graph(model)
    assert "PlatonFeedForward_relu_prenorm_csr" not in _ours(model)
    x = _RNG.standard_normal((2, 13, 16)).astype(np.float32)
    wanted = run_sparse_graph(_graph(body, sparse=""), x, use_library=False)
    np.testing.assert_allclose(run_sparse_graph(model, x, use_library=True), wanted, atol=5e-5)


@pytest.mark.parametrize("mixed", [False, True], ids=["all sparse", "mixed"])
@pytest.mark.parametrize("family", thinned(["bert", "vit", "deberta-v3", "modernbert"], every=3))
def test_every_tensor_of_a_file_means_the_same(family, mixed, tmp_path):
    """Each result of each of our nodes, asked for by name, with the library and without."""
    model, inputs = tiny_transformer(family)
    csr = {}
    for number, (name, module) in enumerate(model.named_modules()):
        if isinstance(module, torch.nn.Linear) and name.startswith(find_blocks(model)):
            module.weight.data *= torch.rand(module.weight.shape) < 0.3
            if not mixed or number % 3:
                csr[f"{name}.weight"] = CsrWeight.from_dense(module.weight.detach().numpy())
    compressed = type("Compressed", (), {"model": model, "csr": csr})()
    path = export_onnx(compressed, tmp_path / "m.onnx", inputs).path
    proto = onnx.load(path)
    names = [name for node in proto.graph.node if node.domain == "platon" for name in node.output]
    kept = [value.name for value in proto.graph.output]
    proto.graph.output.extend(onnx.helper.make_tensor_value_info(n, 1, None) for n in names if n not in kept)
    feed = {name: value.numpy() for name, value in inputs.items()}
    runs = [
        ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]).run(
            names, feed
        )
        for options in (session_options(), ort.SessionOptions())
    ]
    assert len(names) >= 4
    for native, stock in zip(*runs, strict=True):
        np.testing.assert_allclose(native, stock, atol=2e-5)


def test_the_joined_node_is_named_after_its_last_layer():
    model = _graph(_PRE + _ENDS["sum"])
    rewrite_graph(model)
    attach_functions(model)
    ours = [node.name for node in model.graph if node.op_type in OPERATORS]
    assert [name.rpartition("/")[2] for name in ours] == ["SelfAttention", "FeedForward"]
