"""The operators' bodies in standard operators (opset 18 or later), which a file carries as model-local functions.

Without our library a runtime inlines them and folds what is constant to dense weights. Every fragment computes one
step from named values; a body is its operator's fragments one behind the other.
"""

from functools import cache

import onnx_ir as ir
from onnx import parser

from platon_compress.export.operators import ACTIVATIONS, DOMAIN, Operator, StoredWeight

__all__ = ["HIDDEN", "body"]

# What hides a key, here and in the kernel. Not the lowest float32: ONNX Runtime returns zeros for a row that is hidden
# entirely with it, softmax spreads evenly over such a row.
HIDDEN = -1e30

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

_SPLIT = "Q, K, V = Split <axis = -1, num_outputs = 3> (QKV)"
_HEADS = """
  head_count = Constant <value_int: int = @num_heads> ()
  head_axis = Reshape (head_count, second)
  copied = Constant <value = int64[2] {0, 0}> ()
  into_heads = Concat <axis = 0> (copied, head_axis, last)
  side_by_side = Concat <axis = 0> (copied, last)
  q_heads = Reshape (Q, into_heads)
  k_heads = Reshape (K, into_heads)
  v_heads = Reshape (V, into_heads)
  q_t = Transpose <perm = [0, 2, 1, 3]> (q_heads)
  k_t = Transpose <perm = [0, 2, 3, 1]> (k_heads)
  v_t = Transpose <perm = [0, 2, 1, 3]> (v_heads)
  factor = Constant <value_float: float = @score_scale> ()
"""
_SCORES = """
  products = MatMul (q_t, k_t)
  scores = Mul (products, factor)
"""
# Numbers from -most to most and their scales, token by token of every head; poison makes what is not finite NaN.
_HEAD_NUMBERS = """
  {x}_size = Abs ({x})
  {x}_largest = ReduceMax ({x}_size, {axis})
  {x}_step = Div ({x}_largest, {most})
  {x}_finite_scale = Max ({x}_step, least)
  {x}_inverse = Div (unit, {x}_finite_scale)
  {x}_scaled = Mul ({x}, {x}_inverse)
  {x}_number = Round ({x}_scaled)
  {x}_nothing = Mul ({x}, none)
  {x}_poison = ReduceSum ({x}_nothing, {axis})
  {x}_scale = Add ({x}_finite_scale, {x}_poison)
"""
_INT8_SCORES = (
    """
  last_but_one = Constant <value = int64[1] {-2}> ()
  none = Constant <value = float {0.0}> ()
  unit = Constant <value = float {1.0}> ()
  least = Constant <value = float {1e-30}> ()
  most_of_q = Constant <value = float {127.0}> ()
  most_of_k = Constant <value = float {63.0}> ()
"""
    + _HEAD_NUMBERS.format(x="q_t", axis="last", most="most_of_q")
    + _HEAD_NUMBERS.format(x="k_t", axis="last_but_one", most="most_of_k")
    + _HEAD_NUMBERS.format(x="v_t", axis="last", most="most_of_k")
    + """
  q_offset = Constant <value = float {128.0}> ()
  q_zero = Constant <value = uint8 {128}> ()
  q_shifted = Add (q_t_number, q_offset)
  q_bytes = Cast <to = 2> (q_shifted)
  k_bytes = Cast <to = 3> (k_t_number)
  products = MatMulInteger (q_bytes, k_bytes, q_zero)
  products_float = Cast <to = 1> (products)
  products_of_q = Mul (products_float, q_t_scale)
  products_of_k = Mul (products_of_q, k_t_scale)
  scores = Mul (products_of_k, factor)
"""
)
_HIDDEN_SCORE = f"hidden = Constant <value = float {{{HIDDEN}}}> ()"
_MASKED = {
    "full": "",
    "mask": _HIDDEN_SCORE
    + """
  cut_off = Max (mask, hidden)
  masked = Add (scores, cut_off)
""",
    # Number of each token's sequence: how many sequences end at or before it. Tokens of others are hidden.
    "lengths": _HIDDEN_SCORE
    + """
  step = Constant <value = int64 {1}> ()
  ends = CumSum (lengths, axis)
  places_shape = Shape <start = 1, end = 2> (Q)
  place_count = Squeeze (places_shape)
  places = Range (axis, place_count, step)
  column = Unsqueeze (places, second)
  behind = GreaterOrEqual (column, ends)
  behind64 = Cast <to = 7> (behind)
  sequence = ReduceSum <keepdims = 0> (behind64, second)
  sequence_column = Unsqueeze (sequence, second)
  same = Equal (sequence_column, sequence)
  masked = Where (same, scores, hidden)
""",
}
_CONTEXT = """
  probabilities = Softmax <axis = -1> ({scores})
  context = MatMul (probabilities, v_t)
"""
# A value's scale goes into its weight before that is rounded, and out of the sum that all is divided by.
_INT8_CONTEXT = """
  v_log_column = Log (v_t_scale)
  v_log = Transpose <perm = [0, 1, 3, 2]> (v_log_column)
  peaks = Add ({scores}, v_log)
  peak = ReduceMax (peaks, last)
  below_peak = Sub (peaks, peak)
  shares = Exp (below_peak)
  most_of_weights = Constant <value = float {{255.0}}> ()
  weights_scaled = Mul (shares, most_of_weights)
  weights_number = Round (weights_scaled)
  weights_bytes = Cast <to = 2> (weights_number)
  v_bytes = Cast <to = 3> (v_t_number)
  context_sums = MatMulInteger (weights_bytes, v_bytes)
  context_float = Cast <to = 1> (context_sums)
  v_unscale = Div (unit, v_t_scale)
  total = MatMul (shares, v_unscale)
  divisor = Mul (total, most_of_weights)
  context = Div (context_float, divisor)
"""
_JOIN = """
  context_t = Transpose <perm = [0, 2, 1, 3]> (context)
  {y} = Reshape (context_t, side_by_side)
"""
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
        *_attention(_SPLIT, operator.parts[0], "attended", int8=operator.int8_attention),
        _product(operator, outer, "attended", "P"),
        *_tail(operator, "P"),
    ]


def _heads(operator: Operator) -> list[str]:
    operands, masking = operator.parts
    return _attention(_SPLIT if operands == "stacked" else "", masking, "Y")


def _attention(split: str, masking: str, result: str, *, int8: bool = False) -> list[str]:
    scores, context = (_INT8_SCORES, _INT8_CONTEXT) if int8 else (_SCORES, _CONTEXT)
    name = "masked" if _MASKED[masking] else "scores"
    return [
        split, _HEADS, scores, _MASKED[masking], context.format(scores=name), _JOIN.format(y=result)
    ]  # fmt: skip


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
