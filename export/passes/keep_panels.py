"""Neighbouring sparse layers hand their activations on in the kernel's own layout (`panels`).

Between a layer's output and the next layer's input nothing is unpacked and packed again (a feed-forward block's
two layers; with residual and norm folded and attention of our own, a whole encoder). Standard operators see no
difference: the shape stays, and the fallback functions ignore the layout.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.attention_op import AttentionInput, is_attention
from platon_compress.export.passes._rule import Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear, set_panels

__all__ = ["SIDE_OF_INPUT", "KeepPanels"]

SIDE_OF_INPUT = {Input.X: "input", Input.RESIDUAL: "residual"}
_SIDE_OF_OUTPUT = ("output", "sum")
_OPERANDS = slice(AttentionInput.Q, AttentionInput.V + 1)


class KeepPanels(Rule):
    """A result of our nodes that only our nodes read as activations is written in panels."""

    name = "keep_panels"
    anchors: ClassVar = frozenset({"SparseLinear", "Attention"})

    def check(self, node: ir.Node) -> tuple[ir.Value, ...] | None:
        """The outputs whose readers can all take panels."""
        if not (is_sparse_linear(node) or is_attention(node)):
            return None
        return tuple(value for value in node.outputs if _reads_panels(value)) or None

    def rewrite(self, node: ir.Node, match: tuple[ir.Value, ...]) -> None:
        """Set the layouts on both sides."""
        for value in match:
            set_panels(node, _SIDE_OF_OUTPUT[value.index() or 0])
            for reader, place in value.uses():
                set_panels(reader, "input" if is_attention(reader) else SIDE_OF_INPUT[Input(place)])


def _reads_panels(value: ir.Value) -> bool:
    readers = tuple(value.uses())
    return (
        bool(readers) and not value.is_graph_output() and all(_takes(user, place) for user, place in readers)
    )


def _takes(user: ir.Node, place: int) -> bool:
    """Whether `user` can read panels there. An attention reads all of its operands alike."""
    if is_attention(user):
        return place <= AttentionInput.V and all(_is_for(value, user) for value in user.inputs[_OPERANDS])
    return is_sparse_linear(user) and place in SIDE_OF_INPUT


def _is_for(value: ir.Value | None, attention: ir.Node) -> bool:
    """Absent, or computed by a sparse layer for this attention only."""
    if value is None:
        return True
    producer = value.producer()
    alone = all(user is attention for user, _ in value.uses()) and not value.is_graph_output()
    return alone and producer is not None and is_sparse_linear(producer)
