"""Softmax attention of all heads in standard operators: a part of `bodies`, whose shared constants it reads."""

__all__ = ["HIDDEN", "attention_steps"]

# What hides a key, here and in the kernel. Not the lowest float32: ONNX Runtime returns zeros for a row that is hidden
# entirely with it, softmax spreads evenly over such a row.
HIDDEN = -1e30

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


def attention_steps(masking: str, result: str, *, stacked: bool, int8: bool = False) -> list[str]:
    """Fragments that compute `result` from Q, K and V, or from QKV where they are stacked.

    masking: "full", or "mask" or "lengths", which are inputs of that name. int8: the products are of 8-bit numbers.
    """
    scores, context = (_INT8_SCORES, _INT8_CONTEXT) if int8 else (_SCORES, _CONTEXT)
    name = "masked" if _MASKED[masking] else "scores"
    split = _SPLIT if stacked else ""
    return [split, _HEADS, scores, _MASKED[masking], context.format(scores=name), _JOIN.format(y=result)]
