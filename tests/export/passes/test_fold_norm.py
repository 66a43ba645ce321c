"""Scale and bias of a norm, and LayerScale, move into linear layers; the numbers stay those of float64."""

import numpy as np
import onnxruntime as ort
import pytest
from graphs import checked_proto, parsed_graph

from platon_compress.export.functions import attach_functions
from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.fold_bias import FoldBias
from platon_compress.export.passes.fold_layer_scale import FoldLayerScale
from platon_compress.export.passes.fold_norm import FoldNorm
from platon_compress.export.passes.swap_sparse import SwapSparse
from platon_compress.export.session import session_options
from platon_compress.formats.csr import CsrWeight

_NORM = "n = LayerNormalization <axis = -1> (x, g, b)\n"
_PRE = _NORM + "p = MatMul (n, w)\n q = Add (p, c)\n r = MatMul (n, v)\n s = Add (d, r)\n y = Add (q, s)\n"
_ONE = _NORM + "p = MatMul (n, w)\n y = Add (p, c)\n"
_POST = _NORM + "p = MatMul (n, w)\n q = Add (p, c)\n y = Add (q, n)\n"
_SCALED = "p = MatMul (x, w)\n q = Add (c, p)\n t = Mul (q, g)\n y = Add (t, x)\n"
_GENERATOR = np.random.default_rng(0)
_CONSTANTS = {
    name: _GENERATOR.standard_normal(shape).astype(np.float32)
    for name, shape in {"g": 8, "b": 8, "w": (8, 8), "v": (8, 8), "c": 8, "d": 8}.items()
}
_CONSTANTS["w"][np.abs(_CONSTANTS["w"]) < 0.7] = 0


def _model(body, output="float[B, T, 8] y"):
    return clean(parsed_graph(body, "float[B, T, 8] x", output, _CONSTANTS))


def _run(model, x):
    attach_functions(model)
    proto = checked_proto(model)
    session = ort.InferenceSession(
        proto.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]


def _wanted(body, x):
    """The body in float64."""
    c = {name: value.astype(np.float64) for name, value in _CONSTANTS.items()}
    x = x.astype(np.float64)
    if body == _SCALED:
        return (x @ c["w"] + c["c"]) * c["g"] + x
    centred = x - x.mean(-1, keepdims=True)
    n = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * c["g"] + c["b"]
    if body == _ONE:
        return n @ c["w"] + c["c"]
    if body == _PRE:
        return n @ c["w"] + c["c"] + n @ c["v"] + c["d"]
    return n @ c["w"] + c["c"] + n


def _sparse(model):
    """The same with `w` as a sparse layer."""
    apply_rule(SwapSparse({"w": CsrWeight.from_dense(_CONSTANTS["w"].T)}), model.graph)
    assert apply_rule(FoldBias(), model.graph).applied == 1
    return model


def _x():
    return np.random.default_rng(1).standard_normal((2, 5, 8)).astype(np.float32)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    ("rule", "body"),
    [(FoldNorm, _ONE), (FoldNorm, _PRE), (FoldNorm, _POST), (FoldLayerScale, _SCALED)],
    ids=["one layer", "two layers", "residual", "layer scale"],
)
def test_the_numbers_stay(rule, body, sparse):
    model = _sparse(_model(body)) if sparse else _model(body)
    report = apply_rule(rule(), model.graph)
    assert (report.applied, report.refusals) == (int(sparse or rule is FoldNorm), ())
    np.testing.assert_allclose(_run(model, _x()), _wanted(body, _x()), atol=1e-5)


def _norm_inputs(model):
    return next(len(node.inputs) for node in model.graph if node.op_type == "LayerNormalization")


def test_the_scale_moves_into_sparse_layers_only():
    dense, sparse = _model(_ONE), _sparse(_model(_ONE))
    before = sparse.graph.initializers["w.values"].const_value.numpy().copy()
    for model in (dense, sparse):
        assert apply_rule(FoldNorm(), model.graph).applied == 1
        assert _norm_inputs(model) == 2
    np.testing.assert_array_equal(dense.graph.initializers["w"].const_value.numpy(), _CONSTANTS["w"])
    columns = sparse.graph.initializers["w.columns"].const_value.numpy()
    np.testing.assert_allclose(
        sparse.graph.initializers["w.values"].const_value.numpy(),
        before * _CONSTANTS["g"][columns],
        rtol=1e-6,
    )


def test_in_front_of_a_residual_sum_the_scale_stays():
    model = _model(_POST)
    apply_rule(FoldNorm(), model.graph)
    norm = next(node for node in model.graph if node.op_type == "LayerNormalization")
    assert (len(norm.inputs), norm.inputs[1].name) == (2, "g")
    np.testing.assert_array_equal(model.graph.initializers["w"].const_value.numpy(), _CONSTANTS["w"])


@pytest.mark.parametrize(
    ("body", "output", "reason"),
    [
        (_NORM + "p = MatMul (n, w)\n q = Add (p, c)\n t = Tanh (n)\n y = Add (q, t)\n", "", "Tanh reads"),
        (_PRE, "float[B, T, 8] y, float[B, T, 8] n", "the norm is an output"),
        (_NORM + "y = MatMul (n, w)\n", "", "has no bias to take"),
    ],
    ids=["another reader", "an output", "no bias"],
)
def test_what_cannot_be_folded_is_refused_with_a_reason(body, output, reason):
    model = _model(body, *([output] if output else []))
    report = apply_rule(FoldNorm(), model.graph)
    assert report.applied == 0
    assert reason in report.refusals[0][1]


def test_a_shared_sparse_weight_keeps_its_values():
    twice = "p = MatMul (x, w)\n q = Add (c, p)\n t = Mul (q, g)\n r = MatMul (t, w)\n s = Add (d, r)\n y = Add (s, x)\n"
    model = _model(twice)
    apply_rule(SwapSparse({"w": CsrWeight.from_dense(_CONSTANTS["w"].T)}), model.graph)
    assert apply_rule(FoldBias(), model.graph).applied == 2
    report = apply_rule(FoldLayerScale(), model.graph)
    assert (report.applied, report.refusals[0][1]) == (0, "the layer's weight is used elsewhere too")
