"""The operator `platon::SparseLinear` version 1 as it stands in a file, fallback included.

Y = act(X W^T + bias), W a row-major CSR matrix [out_features, in_features]

inputs      X float32 [..., in]; values float32 [nnz]; columns uint16 [nnz] when in <= 65536, else int32;
            row_starts int32 [out + 1]; optional bias float32 [out]
attributes  in_features, out_features, activation ("", "gelu", "gelu_tanh", "relu"), format_version;
            format_version 2 adds input_layout and output_layout ("tokens", "panels"): how activations lie in
            memory between our own nodes, under the same shape. `platon::PackTokens` turns tokens into panels.

A file also carries the operator as model-local functions in standard operators. ONNX Runtime with our
library takes the native kernel; without it, the same runtime inlines the function and folds the constant
part to a dense MatMul. A function body cannot branch on a string or on a missing input, so each node says
by its `overload` which body fits it (one per activation, with and without bias).
"""

import onnx_ir as ir
from onnx import parser

__all__ = [
    "ACTIVATIONS",
    "DOMAIN",
    "OP_TYPE",
    "PACK_OP_TYPE",
    "VERSION",
    "attach_functions",
    "is_sparse_linear",
    "set_panels",
]

DOMAIN = "platon"
OP_TYPE = "SparseLinear"
PACK_OP_TYPE = "PackTokens"
VERSION = 1

_LAYOUT_FORMAT_VERSION = 2

ACTIVATIONS = ("", "gelu", "gelu_tanh", "relu")

# Row of each non-zero: one step at every row start but the first, then a running sum. A row that starts at
# nnz (trailing empty rows) steps in the one extra slot, which is cut off again.
_DENSE_WEIGHT = """
  in_size = Constant <value_int: int = @in_features> ()
  out_size = Constant <value_int: int = @out_features> ()
  first = Constant <value = int64[1] {0}> ()
  second = Constant <value = int64[1] {1}> ()
  last = Constant <value = int64[1] {-1}> ()
  axis = Constant <value = int64 {0}> ()
  nnz = Shape (values)
  slots = Add (nnz, second)
  starts = Slice (row_starts, second, last)
  starts64 = Cast <to = 7> (starts)
  start_count = Shape (starts64)
  steps_of_one = ConstantOfShape <value = int64[1] {1}> (start_count)
  no_steps = ConstantOfShape <value = int64[1] {0}> (slots)
  steps = ScatterElements <axis = 0, reduction = "add"> (no_steps, starts64, steps_of_one)
  rows_and_slot = CumSum (steps, axis)
  rows = Slice (rows_and_slot, first, last)
  row_offsets = Mul (rows, in_size)
  columns64 = Cast <to = 7> (columns)
  positions = Add (row_offsets, columns64)
  out_shape = Reshape (out_size, second)
  in_shape = Reshape (in_size, second)
  size = Mul (out_shape, in_shape)
  zeros = ConstantOfShape <value = float[1] {0.0}> (size)
  flat = ScatterElements <axis = 0> (zeros, positions, values)
  shape = Concat <axis = 0> (out_shape, in_shape)
  weight = Reshape (flat, shape)
  weight_t = Transpose <perm = [1, 0]> (weight)
"""

# Spelled as PyTorch's exporter spells them, so that ONNX Runtime fuses them after inlining.
_ACTIVATION_BODIES = {
    "": "",
    "relu": "Y = Relu (Z)",
    "gelu": """
  sqrt2 = Constant <value = float {1.4142135381698608}> ()
  one = Constant <value = float {1.0}> ()
  half = Constant <value = float {0.5}> ()
  scaled = Div (Z, sqrt2)
  erf = Erf (scaled)
  erf1 = Add (erf, one)
  doubled = Mul (Z, erf1)
  Y = Mul (doubled, half)
""",
    "gelu_tanh": """
  three = Constant <value = float {3.0}> ()
  cubic = Constant <value = float {0.044715}> ()
  slope = Constant <value = float {0.7978845608028654}> ()
  one = Constant <value = float {1.0}> ()
  half = Constant <value = float {0.5}> ()
  cube = Pow (Z, three)
  bend = Mul (cube, cubic)
  bent = Add (Z, bend)
  inner = Mul (bent, slope)
  tanh = Tanh (inner)
  tanh1 = Add (tanh, one)
  halved = Mul (Z, half)
  Y = Mul (halved, tanh1)
""",
}


def is_sparse_linear(node: ir.Node) -> bool:
    """Whether `node` is this operator."""
    return node.op_type == OP_TYPE and node.domain == DOMAIN


def set_panels(node: ir.Node, side: str) -> None:
    """Let a SparseLinear read ("input_layout") or write ("output_layout") panels."""
    node.attributes[side] = ir.AttrString(side, "panels")
    node.attributes["format_version"] = ir.AttrInt64("format_version", _LAYOUT_FORMAT_VERSION)


def attach_functions(model: ir.Model) -> int:
    """Give each node of ours its overload and the model the bodies in use. Returns the number of layers."""
    layers = [node for node in model.graph if is_sparse_linear(node)]
    opset = model.opset_imports[""]
    for node in layers:
        bias = len(node.inputs) > 4 and node.inputs[4] is not None
        activation = node.attributes["activation"].as_string()
        node.overload = f"{activation or 'linear'}{'_bias' if bias else ''}"
        identifier = (DOMAIN, OP_TYPE, node.overload)
        if identifier not in model.functions:
            model.functions[identifier] = _function(activation, bias, node.overload, opset)
    if any(node.op_type == PACK_OP_TYPE and node.domain == DOMAIN for node in model.graph):
        model.functions[(DOMAIN, PACK_OP_TYPE, "")] = _pack_function(opset)
    if layers:
        model.opset_imports[DOMAIN] = VERSION
    return len(layers)


def _pack_function(opset: int) -> ir.Function:
    """Packing changes nothing that standard operators could see."""
    proto = parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n{PACK_OP_TYPE} (X) => (Y) {{ Y = Identity (X) }}'
    )
    return ir.serde.deserialize_function(proto)


def _function(activation: str, bias: bool, overload: str, opset: int) -> ir.Function:
    """One body of the operator in standard operators of version `opset`."""
    product = "Z" if activation else "Y"
    linear = f"{'XW' if bias else product} = MatMul (X, weight_t)\n"
    if bias:
        linear += f"{product} = Add (XW, bias)\n"
    proto = parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n'
        f'{OP_TYPE} <in_features, out_features, activation: string = "", format_version: int = {VERSION}, '
        'input_layout: string = "tokens", output_layout: string = "tokens">'
        f"(X, values, columns, row_starts{', bias' if bias else ''}) => (Y)\n"
        "{" + _DENSE_WEIGHT + linear + _ACTIVATION_BODIES[activation] + "}"
    )
    proto.overload = overload
    return ir.serde.deserialize_function(proto)
