"""Softmax attention of every head while the graph passes work on it: a form of its own that no file contains.

Y = softmax(scale * Q K^T + mask) V for every head, each token within its own sequence.

inputs      Q float32 [batch, tokens, heads * size]; optional: K, the same; V [batch, tokens, heads * value_size]
            (without K and V, Q holds all three side by side, in thirds); mask float32, which broadcasts to
            [batch, heads, tokens, tokens]; lengths int64 [sequences]: Q holds sequences of these lengths one
            behind the other instead of a padded batch (no mask then)
outputs     Y float32 [batch, tokens, heads * value_size]
attributes  num_heads, scale
"""

from enum import IntEnum
from typing import Any

import onnx_ir as ir

from platon_compress.export.operators import DOMAIN, OPERATORS, Operator
from platon_compress.export.sparse_linear import optional_input

__all__ = ["OP_TYPE", "AttentionInput", "attributes", "is_attention", "masking", "operator", "separate"]

OP_TYPE = "Heads"


class AttentionInput(IntEnum):
    """Places of the form's inputs."""

    Q = 0
    K = 1
    V = 2
    MASK = 3
    LENGTHS = 4


def is_attention(node: ir.Node) -> bool:
    """Whether `node` is this form."""
    return node.op_type == OP_TYPE and node.domain == DOMAIN


def masking(node: ir.Node) -> tuple[str, list[ir.Value | None]]:
    """("full", "mask" or "lengths", the input that says it)."""
    for name, place in (("mask", AttentionInput.MASK), ("lengths", AttentionInput.LENGTHS)):
        if optional_input(node, place) is not None:
            return name, [node.inputs[place]]
    return "full", []


def separate(node: ir.Node) -> bool:
    """Whether Q, K and V are three tensors."""
    return optional_input(node, AttentionInput.K) is not None


def operator(node: ir.Node) -> tuple[Operator, list[ir.Value | None]]:
    """The operator of the table, and the node's inputs in its order."""
    name, hidden = masking(node)
    three = separate(node)
    operands = node.inputs[: AttentionInput.V + 1] if three else node.inputs[:1]
    found = OPERATORS[Operator("Heads", ("separate" if three else "stacked", name)).name]
    return found, [*operands, *hidden]


def attributes(node: ir.Node) -> dict[str, Any]:
    """The node's attributes by their names in the file."""
    return {"num_heads": node.attributes["num_heads"].value, "score_scale": node.attributes["scale"].value}
