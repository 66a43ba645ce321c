"""The operator `platon::SparseLinear` version 1 as it stands in a file, fallback included.

Y = norm(S), S = act(X W^T + bias) + residual, W a row-major CSR matrix [out_features, in_features]

inputs      X float32 [..., in]; values float32 or float16 [nnz]; columns uint16 [nnz] when in <= 65536, else int32;
            row_starts int32 [out + 1]; optional: bias float32 [out]; residual float32 [..., out];
            scale and shift float32 [out] of a layer norm over the last axis
outputs     Y float32 [..., out]; optional: S, what goes into the norm
attributes  in_features, out_features, activation ("", "gelu", "gelu_tanh", "relu"), format_version;
            format_version 2 adds input_layout and output_layout ("tokens", "panels"): how activations lie in
            memory between our own nodes, under the same shape. `platon::PackTokens` turns tokens into panels.
            format_version 3 allows float16 values and adds residual, scale, shift, S, epsilon, residual_layout
            and sum_layout.

A file also carries the operator as model-local functions in standard operators. ONNX Runtime with our
library takes the native kernel; without it, the same runtime inlines the function and folds the constant
part to a dense MatMul. A function body cannot branch on a string or on a missing input, so each node says
by its `overload` which body fits it (`gelu_bias`, `linear_bias_residual_norm_sum`, ...).
"""

from enum import IntEnum

import onnx_ir as ir
from onnx import parser

__all__ = [
    "ACTIVATIONS",
    "DOMAIN",
    "EPILOGUE_VERSION",
    "OP_TYPE",
    "PACK_OP_TYPE",
    "VERSION",
    "Input",
    "is_sparse_linear",
    "linear_function",
    "pack_function",
    "require_version",
    "set_panels",
    "variant",
]

DOMAIN = "platon"
OP_TYPE = "SparseLinear"
PACK_OP_TYPE = "PackTokens"
VERSION = 1

EPILOGUE_VERSION = 3
_LAYOUT_VERSION = 2


class Input(IntEnum):
    """Places of the operator's inputs."""

    X = 0
    VALUES = 1
    COLUMNS = 2
    ROW_STARTS = 3
    BIAS = 4
    RESIDUAL = 5
    SCALE = 6
    SHIFT = 7


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
  values32 = Cast <to = 1> (values)
  out_shape = Reshape (out_size, second)
  in_shape = Reshape (in_size, second)
  size = Mul (out_shape, in_shape)
  zeros = ConstantOfShape <value = float[1] {0.0}> (size)
  flat = ScatterElements <axis = 0> (zeros, positions, values32)
  shape = Concat <axis = 0> (out_shape, in_shape)
  weight = Reshape (flat, shape)
  weight_t = Transpose <perm = [1, 0]> (weight)
"""

# Spelled as PyTorch's exporter spells them, so that ONNX Runtime fuses them after inlining.
_ACTIVATION_BODIES = {
    "linear": "",
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

_NORM_BODY = "Y = LayerNormalization <axis = -1, epsilon: float = @epsilon> (Z, scale, shift)"


def is_sparse_linear(node: ir.Node) -> bool:
    """Whether `node` is this operator."""
    return node.op_type == OP_TYPE and node.domain == DOMAIN


def require_version(node: ir.Node, version: int) -> None:
    """Raise the node's format_version to at least `version`."""
    version = max(version, node.attributes["format_version"].as_int())
    node.attributes["format_version"] = ir.AttrInt64("format_version", version)


def set_panels(node: ir.Node, side: str) -> None:
    """Let a node of ours read ("input", "residual") or write ("output", "sum") panels."""
    name = f"{side}_layout"
    node.attributes[name] = ir.AttrString(name, "panels")
    require_version(node, _LAYOUT_VERSION)


def pack_function(parts: tuple[str, ...], opset: int) -> ir.Function:
    """Body of PackTokens, which has no variants: nothing changes that standard operators could see."""
    proto = parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n{PACK_OP_TYPE} (X) => (Y) {{ Y = Identity (X) }}'
    )
    return ir.serde.deserialize_function(proto)


def variant(node: ir.Node) -> tuple[str, ...]:
    """What the node does, in order: ("gelu", "bias"), ("linear", "bias", "residual", "norm", "sum"), ..."""

    def has(place: Input) -> bool:
        return len(node.inputs) > place and node.inputs[place] is not None

    parts = (("bias", has(Input.BIAS)), ("residual", has(Input.RESIDUAL)), ("norm", has(Input.SCALE)))
    chosen = [name for name, present in (*parts, ("sum", len(node.outputs) > 1)) if present]
    return (node.attributes["activation"].as_string() or "linear", *chosen)


def linear_function(parts: tuple[str, ...], opset: int) -> ir.Function:
    """The body that fits a :func:`variant`, in standard operators of version `opset`."""
    activation, *epilogue = parts
    inputs = ["X", "values", "columns", "row_starts"]
    if epilogue:
        inputs.append("bias")
    if "residual" in epilogue or "norm" in epilogue:
        inputs.append("residual")
    if "norm" in epilogue:
        inputs += ["scale", "shift"]
    proto = parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n'
        f'{OP_TYPE} <in_features, out_features, activation: string = "", format_version: int = {VERSION}, '
        'input_layout: string = "tokens", output_layout: string = "tokens", '
        'residual_layout: string = "tokens", sum_layout: string = "tokens", epsilon: float = 0.0>'
        f"({', '.join(inputs)}) => ({'Y, Z' if 'sum' in epilogue else 'Y'})\n"
        "{" + _DENSE_WEIGHT + _body(activation, epilogue) + "}"
    )
    proto.overload = "_".join(parts)
    return ir.serde.deserialize_function(proto)


def _body(activation: str, parts: list[str]) -> str:
    """From X and weight_t to Z, which goes into the activation or the norm, and to Y."""
    steps = ["MatMul (X, weight_t)", *(f"Add (V, {name})" for name in ("bias", "residual") if name in parts)]
    tail = _NORM_BODY if "norm" in parts else _ACTIVATION_BODIES[activation]
    names = [f"V{number}" for number in range(1, len(steps))] + ["Z" if tail else "Y"]
    previous = dict(zip(names[1:], names, strict=False))
    lines = [
        f"{name} = {step.replace('(V,', f'({previous.get(name)},')}"
        for name, step in zip(names, steps, strict=True)
    ]
    return "\n".join([*lines, tail])
