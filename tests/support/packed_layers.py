"""Files of one layer, with packed 8-bit weights and others."""

import numpy as np
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from platon_compress.export.bodies import body
from platon_compress.export.gaps import GAP_BITS
from platon_compress.export.operators import OPERATORS
from platon_compress.export.quantize import gap_arrays
from platon_compress.formats.csr import CsrWeight
from platon_compress.testing import naive_int8_linear

_OPERATOR = OPERATORS["PlatonLinear_plain_gaps_int8"]
_SCALE = np.float32(0.01)


def random_bytes(rows, columns, density=0.3):
    """int8 [rows, columns] within 63, its first and last row empty."""
    rng = np.random.default_rng((rows, columns))
    dense = rng.integers(-63, 64, (rows, columns)) * (rng.random((rows, columns)) < density)
    dense[0] = dense[-1] = 0
    return dense.astype(np.int8)


def packed_layer(dense, bits=None, attributes=None, **changes):
    """A layer of one node with the weight `dense`; arrays and attributes may be given."""
    csr = CsrWeight.from_dense(dense.astype(np.float32))
    values, gaps, used = gap_arrays(
        csr.values, csr.columns, csr.row_starts, csr.in_features, [bits] if bits else GAP_BITS
    )
    scales = np.full(csr.out_features, _SCALE)
    arrays = {"values": values, "gaps": gaps, "row_scales": scales, "bias": np.zeros_like(scales)} | changes
    sizes = {"in_features": csr.in_features, "out_features": csr.out_features, "gap_bits": used}
    return layer_file(_OPERATOR, arrays, sizes | (attributes or {}))


def layer_file(operator, arrays, attributes):
    """A file of one node of a linear operator, X [rows, columns] to Y."""
    node = helper.make_node(operator.name, operator.inputs, ["Y"], domain="platon", **attributes)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [name, None]) for name in "XY"]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:], constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    proto = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    proto.functions.append(ir.serde.serialize_function(body(operator, 18)))
    return proto


def rows_of(columns):
    """float32 [9, columns]."""
    return np.random.default_rng(1).standard_normal((9, columns)).astype(np.float32)


def exact_answer(x, dense):
    """What `packed_layer` computes, bit by bit."""
    return naive_int8_linear(x, dense, np.full(len(dense), _SCALE))
