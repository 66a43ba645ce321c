"""Products become SparseLinear by the value of their weight; bias and activation follow."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import parsed_graph, run_proto

from platon_compress.export.functions import attach_functions
from platon_compress.export.passes import clean, swap_sparse_weights
from platon_compress.formats.csr import CsrWeight

_RNG = np.random.default_rng(0)
_WEIGHT = (_RNG.standard_normal((6, 4)) * (_RNG.random((6, 4)) < 0.4)).astype(np.float32)
_BIAS = _RNG.standard_normal(6).astype(np.float32)
_ARRAYS = {"w": _WEIGHT, "wt": _WEIGHT.T.copy(), "b": _BIAS, "row": _BIAS[None, :1] * 2, "one": np.float32(1)}
_ERF = "s = Div (h, root)\n e = Erf (s)\n p = Add (e, one)\n m = Mul (h, p)\n y = Mul (m, half)\n"


def _model(body, shape="N, 4"):
    arrays = _ARRAYS | {"root": np.float32(2**0.5), "half": np.float32(0.5)}
    return parsed_graph(body, f"float[{shape}] x", "float[N, 6] y", arrays)


def _run(model, x):
    return run_proto(ir.to_proto(model), {"x": x})[0]


def _swapped(body, csr=None):
    model = clean(_model(body))
    result = swap_sparse_weights(model, csr or {"layer.weight": CsrWeight.from_dense(_WEIGHT)})
    return model, result


def _sparse_nodes(model):
    return [node for node in model.graph if node.op_type == "SparseLinear"]


@pytest.mark.parametrize(
    ("body", "inputs", "activation"),
    [
        ("y = MatMul (x, wt)", 4, ""),
        ("h = MatMul (x, wt)\n y = Add (h, b)", 5, ""),
        ("h = MatMul (x, wt)\n y = Add (b, h)", 5, ""),
        ("h = MatMul (x, wt)\n a = Add (b, h)\n y = Relu (a)", 5, "relu"),
        ("h = MatMul (x, wt)\n" + _ERF, 4, "gelu"),
        ("y = Gemm <transB = 1> (x, w, b)", 5, ""),
        ("y = Gemm (x, wt)", 4, ""),
    ],
)
def test_linear_layers_become_one_node(body, inputs, activation):
    model, (replaced, missing, _) = _swapped(body)
    assert (replaced, missing) == ({"layer.weight": ["/layer/SparseLinear"]}, ())
    (node,) = tuple(model.graph)
    assert node.domain == "platon"
    assert len(node.inputs) == inputs
    assert node.attributes["activation"].as_string() == activation
    assert not {"w", "wt"} & set(model.graph.initializers)
    attach_functions(model)
    assert node.op_type == f"PlatonLinear_{activation or 'plain'}_csr"
    assert len(node.inputs) == 5
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    x = _RNG.standard_normal((5, 4)).astype(np.float32)
    np.testing.assert_allclose(_run(model, x), _run(_model(body), x), atol=1e-5)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("y = Gemm <alpha = 2.0, transB = 1> (x, w, b)", "scales its result"),
        ("y = Gemm <transA = 1, transB = 1> (x, w, b)", "transposes its input"),
        ("y = Gemm <transB = 1> (x, w, row)", "other than one constant bias per output"),
    ],
)
def test_other_products_are_refused_with_a_reason(body, reason):
    model, (replaced, missing, reports) = _swapped(body)
    assert not replaced
    assert missing[0][0] == "layer.weight"
    assert reason in reports[0].refusals[0][1]
    assert not _sparse_nodes(model)


def test_other_values_stay_dense():
    other = _WEIGHT.copy()
    other[np.nonzero(other)[0][0], np.nonzero(other)[1][0]] += 1
    model, (replaced, _, _) = _swapped("y = MatMul (x, wt)", {"layer.weight": CsrWeight.from_dense(other)})
    assert not replaced
    assert [node.op_type for node in model.graph] == ["MatMul"]


def test_a_weight_used_twice_is_stored_once():
    body = "h = MatMul (x, wt)\n i = MatMul (x, wt)\n k = Neg (x)\n j = MatMul (k, wt)\n"
    model, (replaced, _, _) = _swapped(body + "l = Add (h, i)\n y = Add (l, j)")
    assert replaced == {"layer.weight": ["/layer/SparseLinear", "/layer/SparseLinear_1"]}
    assert len({node.inputs[1] for node in _sparse_nodes(model)}) == 1


def test_equal_weights_are_told_apart_by_module_path():
    model = clean(_model("y = MatMul (x, wt)"))
    next(iter(model.graph)).name = "/encoder/second/MatMul"
    csr = {f"encoder.{name}.weight": CsrWeight.from_dense(_WEIGHT) for name in ("first", "second")}
    replaced, missing, _ = swap_sparse_weights(model, csr)
    assert list(replaced) == ["encoder.second.weight"]
    assert [name for name, _ in missing] == ["encoder.first.weight"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("h = MatMul (x, wt)\n y = Add (h, row)", "not one value per output"),
        ("h = Gemm <transB = 1> (x, w, b)\n y = Add (h, b)", "added after the layer's own bias"),
    ],
)
def test_other_sums_are_not_folded(body, reason):
    model, (_, _, reports) = _swapped(body)
    assert reason in reports[1].refusals[0][1]
    assert [node.op_type for node in model.graph] == ["SparseLinear", "Add"]


def test_an_activation_beside_another_reader_is_not_folded():
    model, (_, _, reports) = _swapped("h = MatMul (x, wt)\n r = Relu (h)\n y = Add (h, r)")
    assert "read elsewhere too" in reports[3].refusals[0][1]
    assert [node.op_type for node in model.graph] == ["SparseLinear", "Relu", "Add"]


def test_a_second_activation_is_not_folded():
    model, (_, _, reports) = _swapped("h = MatMul (x, wt)\n r = Relu (h)\n y = Relu (r)")
    assert [node.op_type for node in model.graph] == ["SparseLinear", "Relu"]
    assert reports[3].refusals == ()
