"""Neighbouring sparse layers hand their activations on in the kernel's own layout (`panels`).

Between a layer's output and the next layer's input nothing is unpacked and packed again (a feed-forward block's
two layers; with residual and norm folded, everything but attention). Standard operators see no difference: the
shape stays, and the fallback functions ignore the layout.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes._rule import Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear, set_panels

__all__ = ["SIDE_OF_INPUT", "KeepPanels"]

SIDE_OF_INPUT = {Input.X: "input", Input.RESIDUAL: "residual"}
_SIDE_OF_OUTPUT = ("output", "sum")


class KeepPanels(Rule):
    """A result of a SparseLinear that only other SparseLinear nodes read as activations is written in panels."""

    name = "keep_panels"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> tuple[ir.Value, ...] | None:
        """The outputs whose readers can all take panels."""
        return tuple(value for value in node.outputs if _reads_panels(value)) or None

    def rewrite(self, node: ir.Node, match: tuple[ir.Value, ...]) -> None:
        """Set the layouts on both sides."""
        for value in match:
            set_panels(node, _SIDE_OF_OUTPUT[value.index() or 0])
            for reader, place in value.uses():
                set_panels(reader, SIDE_OF_INPUT[Input(place)])


def _reads_panels(value: ir.Value) -> bool:
    readers = tuple(value.uses())
    fits = all(is_sparse_linear(user) and place in SIDE_OF_INPUT for user, place in readers)
    return bool(readers) and fits and not value.is_graph_output()
