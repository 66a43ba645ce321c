"""float16 storage: only where it is exact, the same numbers in every way of running."""

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from platon_compress.export.passes import clean, swap_sparse_weights
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.halve_values import HalveValues
from platon_compress.export.testing import run_sparse_graph
from platon_compress.formats.csr import CsrWeight

_TEXT = (
    '<ir_version: 10, opset_import: ["" : 18]> g (float[N, 16] x) => (float[N, 16] y) { y = MatMul (x, w) }'
)


def _model(weight):
    proto = onnx.parser.parse_model(_TEXT)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(weight, "w"))
    model = clean(ir.from_proto(proto))
    swap_sparse_weights(model, {"w.weight": CsrWeight.from_dense(weight.T)})
    return model


def test_every_float16_is_widened_exactly():
    """All finite halves, subnormals and both zeros' neighbours included, as weights of one 1-to-1 layer each."""
    bits = np.arange(1, 0x7C00, dtype=np.uint16)
    halves = np.concatenate([bits, bits | 0x8000]).view(np.float16).astype(np.float32)
    halves = np.concatenate([halves, np.ones(-len(halves) % 256, np.float32)]).reshape(-1, 16, 16)
    eye = np.eye(16, dtype=np.float32)
    for weight in halves[:: len(halves) // 8]:
        model = _model(weight)
        assert apply_rule(HalveValues(), model.graph).applied == 1
        for use_library in (True, False):
            assert np.array_equal(run_sparse_graph(model, eye, use_library=use_library), weight)


def test_the_file_shrinks_and_the_numbers_stay():
    rng = np.random.default_rng(0)
    weight = (
        (rng.standard_normal((16, 16)) * (rng.random((16, 16)) < 0.5)).astype(np.float16).astype(np.float32)
    )
    x = rng.standard_normal((5, 16)).astype(np.float32)
    model = _model(weight)
    before = run_sparse_graph(model, x, use_library=True)
    model = _model(weight)
    assert apply_rule(HalveValues(), model.graph).applied == 1
    stored = next(node for node in model.graph if node.op_type == "SparseLinear").inputs[1].const_value
    assert stored.dtype == ir.DataType.FLOAT16
    assert np.array_equal(run_sparse_graph(model, x, use_library=True), before)
    np.testing.assert_allclose(run_sparse_graph(model, x, use_library=False), before, atol=1e-5)


@pytest.mark.parametrize("value", [1.0001, 1e-9, 7e4])
def test_values_that_would_change_stay(value):
    weight = np.eye(16, dtype=np.float32) * np.float32(value)
    assert apply_rule(HalveValues(), _model(weight).graph).applied == 0
