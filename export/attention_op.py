"""The operator `platon::Attention` version 1 as it stands in a file, fallback included.

Y = softmax(scale * Q K^T + mask) V for every head, each token within its own sequence. It reads and writes the
kernel's own layout, so that between the sparse layers of a block nothing is packed or unpacked.

inputs      Q float32 [batch, tokens, heads * size]; optional: K, the same; V [batch, tokens, heads * value_size]
            (without K and V, Q holds all three side by side, in thirds); mask float32, which broadcasts to
            [batch, heads, tokens, tokens]; lengths int64 [sequences]: Q holds sequences of these lengths one
            behind the other instead of a padded batch (no mask then)
outputs     Y float32 [batch, tokens, heads * value_size]
attributes  num_heads, scale, format_version (4), input_layout and output_layout ("tokens", "panels")
"""

from enum import IntEnum

import onnx_ir as ir
from onnx import parser

from platon_compress.export.sparse_linear import DOMAIN

__all__ = [
    "ATTENTION_VERSION",
    "HIDDEN",
    "OP_TYPE",
    "AttentionInput",
    "attention_function",
    "is_attention",
    "variant",
]

OP_TYPE = "Attention"
ATTENTION_VERSION = 4
# What hides a key, here and in the kernel. Not the lowest float32: ONNX Runtime returns zeros for a row that is hidden
# entirely with it, softmax spreads evenly over such a row.
HIDDEN = -1e30


class AttentionInput(IntEnum):
    """Places of the operator's inputs."""

    Q = 0
    K = 1
    V = 2
    MASK = 3
    LENGTHS = 4


_SPLIT = "Q1, K1, V1 = Split <axis = -1, num_outputs = 3> (Q)"
# ONNX Runtime's Attention broadcasts batch and heads of a mask, not its queries and keys.
_MASK = """
  tokens = Shape <start = 1, end = 2> (Q)
  spread = Concat <axis = 0> (tokens, tokens)
  scores = Expand (mask, spread)
"""
# Number of each token's sequence: how many sequences end at or before it. Tokens of others are hidden.
_LENGTHS = f"""
  axis = Constant <value = int64 {{0}}> ()
  step = Constant <value = int64 {{1}}> ()
  last = Constant <value = int64[1] {{1}}> ()
  ends = CumSum (lengths, axis)
  rows = Shape <start = 1, end = 2> (Q)
  count = Squeeze (rows)
  places = Range (axis, count, step)
  column = Unsqueeze (places, last)
  behind = GreaterOrEqual (column, ends)
  behind64 = Cast <to = 7> (behind)
  sequence = ReduceSum <keepdims = 0> (behind64, last)
  sequence_column = Unsqueeze (sequence, last)
  same = Equal (sequence_column, sequence)
  shown = Constant <value = float {{0.0}}> ()
  hidden = Constant <value = float {{{HIDDEN}}}> ()
  scores = Where (same, shown, hidden)
"""


def is_attention(node: ir.Node) -> bool:
    """Whether `node` is this operator, not the standard one of that name."""
    return node.op_type == OP_TYPE and node.domain == DOMAIN


def variant(node: ir.Node) -> tuple[str, ...]:
    """Which optional inputs the node has: ("stacked" or "separate", "mask" or "lengths" if any)."""

    def has(place: AttentionInput) -> bool:
        return len(node.inputs) > place and node.inputs[place] is not None

    parts = [
        name
        for name, place in (("mask", AttentionInput.MASK), ("lengths", AttentionInput.LENGTHS))
        if has(place)
    ]
    return ("separate" if has(AttentionInput.K) else "stacked", *parts)


def attention_function(parts: tuple[str, ...], opset: int) -> ir.Function:
    """The body that fits a :func:`variant`, in standard operators of version `opset` (23 or later)."""
    scores = {"mask": _MASK, "lengths": _LENGTHS}
    form, *masked = parts
    steps = [_SPLIT] * (form == "stacked") + [scores[part] for part in masked]
    operands = ", ".join(["Q1, K1, V1" if form == "stacked" else "Q, K, V", *["scores"] * len(masked)])
    proto = parser.parse_function(
        f'<domain: "{DOMAIN}", opset_import: ["" : {opset}]>\n'
        f"{OP_TYPE} <num_heads, scale, format_version: int = {ATTENTION_VERSION}, "
        'input_layout: string = "tokens", output_layout: string = "tokens">'
        "(Q, K, V, mask, lengths) => (Y)\n"
        "{" + "\n".join(steps) + "\n  Y = Attention <scale: float = @scale, q_num_heads: int = @num_heads, "
        f"kv_num_heads: int = @num_heads> ({operands})\n}}"
    )
    proto.overload = "_".join(parts)
    return ir.serde.deserialize_function(proto)
