"""The operators' bodies in standard operators (opset 18 or later), which a file carries as model-local functions.

Without our library a runtime inlines them and folds what is constant to dense weights. Every fragment computes one
step from named values; a body is its operator's fragments one behind the other.
"""

from functools import cache

import onnx_ir as ir
from onnx import parser

from platon_compress.export.attention_body import attention_steps
from platon_compress.export.operators import ACTIVATIONS, DOMAIN, Operator, StoredWeight

__all__ = ["body"]

_SHARED = """
  first = Constant <value = int64[1] {0}> ()
  second = Constant <value = int64[1] {1}> ()
  last = Constant <value = int64[1] {-1}> ()
  axis = Constant <value = int64 {0}> ()
"""

_SHAPE = """
  {p}column_count = Constant <value_int: int = @{columns}> ()
  {p}row_unit = Constant <value_int: int = @{rows}> ()
  {p}row_factor = Constant <value = int64 {{{factor}}}> ()
  {p}row_count = Mul ({p}row_unit, {p}row_factor)
  {p}out_shape = Reshape ({p}row_count, second)
  {p}in_shape = Reshape ({p}column_count, second)
  {p}size = Mul ({p}out_shape, {p}in_shape)
  {p}shape = Concat <axis = 0> ({p}out_shape, {p}in_shape)
"""
# Row of each non-zero: one step at every row start but the first, then a running sum. A row that starts at
# nnz (trailing empty rows) steps in the one extra slot, which is cut off again.
_POSITIONS = (
    _SHAPE
    + """
  {p}nnz = Shape ({p}values)
  {p}slots = Add ({p}nnz, second)
  {p}starts = Slice ({p}row_starts, second, last)
  {p}starts64 = Cast <to = 7> ({p}starts)
  {p}start_count = Shape ({p}starts64)
  {p}steps_of_one = ConstantOfShape <value = int64[1] {{1}}> ({p}start_count)
  {p}no_steps = ConstantOfShape <value = int64[1] {{0}}> ({p}slots)
  {p}steps = ScatterElements <axis = 0, reduction = "add"> ({p}no_steps, {p}starts64, {p}steps_of_one)
  {p}rows_and_slot = CumSum ({p}steps, axis)
  {p}rows = Slice ({p}rows_and_slot, first, last)
  {p}row_offsets = Mul ({p}rows, {p}column_count)
  {p}columns64 = Cast <to = 7> ({p}columns)
  {p}positions = Add ({p}row_offsets, {p}columns64)
"""
)
_CSR = (
    _POSITIONS
    + """
  {p}values32 = Cast <to = 1> ({p}values)
  {p}zeros = ConstantOfShape <value = float[1] {{0.0}}> ({p}size)
  {p}flat = ScatterElements <axis = 0> ({p}zeros, {p}positions, {p}values32)
  {p}weight = Reshape ({p}flat, {p}shape)
  {p}weight_t = Transpose <perm = [1, 0]> ({p}weight)
  {p}product = MatMul ({x}, {p}weight_t)
"""
)
_BYTES = (
    _POSITIONS
    + """
  {p}zeros = ConstantOfShape <value = int8[1] {{0}}> ({p}size)
  {p}flat = ScatterElements <axis = 0> ({p}zeros, {p}positions, {p}values)
"""
)
# Codes of {width} bits, the lowest bit first, eight of them in {width} bytes: code j begins in byte j * width / 8 and may
# end in the next one, which is moved up by 8 - (j * width) % 8 bits in two steps, because 8 bits at once are undefined.
_UNPACK = """
  {a}_order = Constant <value = int64[8] {{0, 1, 2, 3, 4, 5, 6, 7}}> ()
  {a}_eight = Constant <value = int64[1] {{8}}> ()
  {a}_seven = Constant <value = int64[1] {{7}}> ()
  {a}_begin = Mul ({a}_order, {width})
  {a}_low_byte = Div ({a}_begin, {a}_eight)
  {a}_whole_bits = Mul ({a}_low_byte, {a}_eight)
  {a}_down64 = Sub ({a}_begin, {a}_whole_bits)
  {a}_up64 = Sub ({a}_seven, {a}_down64)
  {a}_down = Cast <to = 2> ({a}_down64)
  {a}_up = Cast <to = 2> ({a}_up64)
  {a}_next_byte = Add ({a}_low_byte, second)
  {a}_last_byte = Sub ({width}, second)
  {a}_high_byte = Min ({a}_next_byte, {a}_last_byte)
  {a}_other_bits64 = Sub ({a}_eight, {width})
  {a}_other_bits = Cast <to = 2> ({a}_other_bits64)
  {a}_all_bits = Constant <value = uint8[1] {{255}}> ()
  {a}_largest = BitShift <direction = "RIGHT"> ({a}_all_bits, {a}_other_bits)
  {a}_one_bit = Constant <value = uint8[1] {{1}}> ()
  {a}_groups_shape = Concat <axis = 0> (last, {width})
  {a}_groups = Reshape ({a}, {a}_groups_shape)
  {a}_low = Gather <axis = 1> ({a}_groups, {a}_low_byte)
  {a}_low_part = BitShift <direction = "RIGHT"> ({a}_low, {a}_down)
  {a}_high = Gather <axis = 1> ({a}_groups, {a}_high_byte)
  {a}_high_by_one = BitShift <direction = "LEFT"> ({a}_high, {a}_one_bit)
  {a}_high_part = BitShift <direction = "LEFT"> ({a}_high_by_one, {a}_up)
  {a}_more_bits = BitwiseOr ({a}_low_part, {a}_high_part)
  {a}_code_groups = BitwiseAnd ({a}_more_bits, {a}_largest)
  {a}_codes = Reshape ({a}_code_groups, last)
"""
# A running sum of steps: a code is how far the next non-zero is; 0 is a step of the largest code without a non-zero, and the
# last of the zeros it passes is written as one. Seven such codes at most end the array, 1785 places behind the matrix.
# In 32 bits, and without Compress, because ONNX Runtime keeps what it folds, and does not fold that one.
_GAPS = (
    _SHAPE
    + """
  {p}gap_bits_scalar = Constant <value_int: int = @{p}gap_bits> ()
  {p}gap_width = Reshape ({p}gap_bits_scalar, second)
"""
    + _UNPACK.replace("{a}", "{p}gaps").replace("{width}", "{p}gap_width")
    + """
  {p}is_value = Cast <to = 9> ({p}gaps_codes)
  {p}steps8 = Where ({p}is_value, {p}gaps_codes, {p}gaps_largest)
  {p}steps = Cast <to = 6> ({p}steps8)
  {p}positions_and_one = CumSum ({p}steps, axis)
  {p}is_value32 = Cast <to = 6> ({p}is_value)
  {p}value_counts = CumSum ({p}is_value32, axis)
  {p}value_numbers = Mul ({p}value_counts, {p}is_value32)
  {p}value_width = Constant <value = int64[1] {{7}}> ()
"""
    + _UNPACK.replace("{a}", "{p}values").replace("{width}", "{p}value_width")
    + """
  {p}value_offset = Constant <value = int32 {{64}}> ()
  {p}value_codes = Cast <to = 6> ({p}values_codes)
  {p}values32 = Sub ({p}value_codes, {p}value_offset)
  {p}values8 = Cast <to = 3> ({p}values32)
  {p}no_value = Constant <value = int8[1] {{0}}> ()
  {p}zero_and_values = Concat <axis = 0> ({p}no_value, {p}values8)
  {p}bytes = Gather <axis = 0> ({p}zero_and_values, {p}value_numbers)
  {p}spare = Constant <value = int64[1] {{1786}}> ()
  {p}size_and_spare = Add ({p}size, {p}spare)
  {p}zeros = ConstantOfShape <value = int8[1] {{0}}> ({p}size_and_spare)
  {p}one_flat_spare = ScatterElements <axis = 0> ({p}zeros, {p}positions_and_one, {p}bytes)
  {p}size_and_one = Add ({p}size, second)
  {p}flat = Slice ({p}one_flat_spare, second, {p}size_and_one)
"""
)
# Rows of X to bytes, each with a scale and a zero point of its own; poison makes a row that is not finite NaN.
_INT8_PRODUCT = """
  {p}weight = Reshape ({p}flat, {p}shape)
  {p}weight_t = Transpose <perm = [1, 0]> ({p}weight)
  {p}weight32 = Cast <to = 6> ({p}weight)
  {p}sums = ReduceSum <keepdims = 0> ({p}weight32, last)
  {p}x_none = Constant <value = float {{0.0}}> ()
  {p}x_most = Constant <value = float {{255.0}}> ()
  {p}x_least = Constant <value = float {{1e-30}}> ()
  {p}x_unit = Constant <value = float {{1.0}}> ()
  {p}x_min = ReduceMin ({x}, last)
  {p}x_max = ReduceMax ({x}, last)
  {p}x_low = Min ({p}x_min, {p}x_none)
  {p}x_high = Max ({p}x_max, {p}x_none)
  {p}x_range = Sub ({p}x_high, {p}x_low)
  {p}x_step = Div ({p}x_range, {p}x_most)
  {p}x_scale = Max ({p}x_step, {p}x_least)
  {p}x_inverse = Div ({p}x_unit, {p}x_scale)
  {p}x_depth = Neg ({p}x_low)
  {p}x_depth_scaled = Mul ({p}x_depth, {p}x_inverse)
  {p}x_zero = Round ({p}x_depth_scaled)
  {p}x_scaled = Mul ({x}, {p}x_inverse)
  {p}x_rounded = Round ({p}x_scaled)
  {p}x_shifted = Add ({p}x_rounded, {p}x_zero)
  {p}x_clipped = Clip ({p}x_shifted, {p}x_none, {p}x_most)
  {p}x_bytes = Cast <to = 2> ({p}x_clipped)
  {p}x_product = MatMulInteger ({p}x_bytes, {p}weight_t)
  {p}x_zero32 = Cast <to = 6> ({p}x_zero)
  {p}x_offset = Mul ({p}x_zero32, {p}sums)
  {p}x_number = Sub ({p}x_product, {p}x_offset)
  {p}x_float = Cast <to = 1> ({p}x_number)
  {p}x_nothing = Mul ({x}, {p}x_none)
  {p}x_poison = ReduceSum ({p}x_nothing, last)
  {p}x_true_scale = Add ({p}x_scale, {p}x_poison)
  {p}x_unit_of_y = Mul ({p}x_true_scale, {p}row_scales)
  {p}product = Mul ({p}x_float, {p}x_unit_of_y)
"""
_PRODUCT = {"csr": _CSR, "csr_int8": _BYTES + _INT8_PRODUCT, "gaps_int8": _GAPS + _INT8_PRODUCT}

# Spelled as PyTorch's exporter spells them, so that ONNX Runtime fuses them after inlining.
_ACTIVATION = {
    "relu": "{y} = Relu ({x})",
    "gelu": """
  sqrt2 = Constant <value = float {{1.4142135381698608}}> ()
  one = Constant <value = float {{1.0}}> ()
  half = Constant <value = float {{0.5}}> ()
  scaled = Div ({x}, sqrt2)
  erf = Erf (scaled)
  erf1 = Add (erf, one)
  doubled = Mul ({x}, erf1)
  {y} = Mul (doubled, half)
""",
    "gelu_tanh": """
  three = Constant <value = float {{3.0}}> ()
  cubic = Constant <value = float {{0.044715}}> ()
  slope = Constant <value = float {{0.7978845608028654}}> ()
  one = Constant <value = float {{1.0}}> ()
  half = Constant <value = float {{0.5}}> ()
  cube = Pow ({x}, three)
  bend = Mul (cube, cubic)
  bent = Add ({x}, bend)
  inner = Mul (bent, slope)
  tanh = Tanh (inner)
  tanh1 = Add (tanh, one)
  halved = Mul ({x}, half)
  {y} = Mul (halved, tanh1)
""",
}

_PRENORM = (
    "N = LayerNormalization <axis = -1, epsilon: float = @prenorm_epsilon> (X, prenorm_scale, prenorm_shift)"
)
_NORM = "Y = LayerNormalization <axis = -1, epsilon: float = @epsilon> (S, scale, shift)"


@cache
def _text(operator: Operator, opset: int) -> str:
    attributes = ", ".join(name for name, _ in operator.attributes)
    return (
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n{operator.name} <{attributes}>'
        f"({', '.join(operator.inputs)}) => ({', '.join(operator.outputs)})\n"
        "{" + _SHARED + "\n".join(_STEPS[operator.kind](operator)) + "\n}"
    )


def body(operator: Operator, opset: int) -> ir.Function:
    """The operator in standard operators of version `opset`; each call makes a new one."""
    return ir.serde.deserialize_function(parser.parse_function(_text(operator, opset)))


def _linear(operator: Operator) -> list[str]:
    return [_product(operator, operator.weights[0], "X", "P"), *_tail(operator, "P")]


def _feed_forward(operator: Operator) -> list[str]:
    inner, outer = operator.weights
    activation = _ACTIVATION[operator.parts[0]].format(x="inner_P", y="inner_Y")
    norm, x = _front(operator)
    return [
        *norm,
        _product(operator, inner, x, "inner_P"),
        activation,
        _product(operator, outer, "inner_Y", "P"),
        *_tail(operator, "P"),
    ]


def _self_attention(operator: Operator) -> list[str]:
    projections, outer = operator.weights
    norm, x = _front(operator)
    return [
        *norm,
        _product(operator, projections, x, "QKV"),
        *attention_steps(operator.parts[0], "attended", stacked=True, int8=operator.int8_attention),
        _product(operator, outer, "attended", "P"),
        *_tail(operator, "P"),
    ]


def _heads(operator: Operator) -> list[str]:
    operands, masking = operator.parts
    return attention_steps(masking, "Y", stacked=operands == "stacked")


def _product(operator: Operator, weight: StoredWeight, x: str, result: str) -> str:
    """result = x W^T + bias."""
    p, (factor, rows), (_, columns) = weight.prefix, weight.rows, weight.columns
    product = _PRODUCT[operator.encoding].format(p=p, x=x, rows=rows, factor=factor, columns=columns)
    return f"{product}  {result} = Add ({p}product, {p}bias)"


def _front(operator: Operator) -> tuple[list[str], str]:
    """The norm in front of a block, and what its first product multiplies."""
    return ([_PRENORM], "N") if "prenorm" in operator.parts else ([], "X")


def _tail(operator: Operator, x: str) -> list[str]:
    """What follows the last product: an activation, or a sum and a norm."""
    norm = "norm" in operator.parts
    residual = next((name for part, name in _ADDED.items() if part in operator.parts), None)
    if operator.kind == "Linear" and operator.parts and operator.parts[0] in ACTIVATIONS:
        return [_ACTIVATION[operator.parts[0]].format(x=x, y="Y")]
    total = "S" if norm else "Y"
    added = f"{total} = Add ({x}, {residual})" if residual else f"{total} = Identity ({x})"
    return [added, *[_NORM] * norm]


_ADDED = {"residual": "residual", "prenorm": "X"}  # part of the name -> what is added to the last product
_STEPS = {
    "Linear": _linear,
    "FeedForward": _feed_forward,
    "SelfAttention": _self_attention,
    "Heads": _heads,
}
