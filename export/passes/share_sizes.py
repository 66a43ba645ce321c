"""Sizes that have one name are read once: every block computes its masks and norms from the same few numbers.

The exporters read batch and token counts from a tensor of each block. Equal computations behind one and the same
size are then merged like any other duplicates.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Rule
from platon_compress.export.passes._sizes import sizes_in

__all__ = ["ShareSizes"]


class ShareSizes(Rule):
    """Replace a Shape, or a Gather of one size, by an earlier one of the same names and rank."""

    name = "share_sizes"
    anchors: ClassVar = frozenset({"Shape", "Gather"})

    def __init__(self) -> None:
        self._first: dict[tuple[int | None, tuple[int | str, ...]], ir.Value] = {}

    def check(self, node: ir.Node) -> ir.Value | None:
        """The earlier value, when every entry has a name or is a number."""
        result = node.outputs[0]
        if node.op_type == "Gather" and g.rank(result) is None:
            return None
        sizes = sizes_in(result)
        names = tuple(size for size in sizes or () if size is not None)
        if sizes is None or len(names) != len(sizes):
            return None
        key = (1 if node.op_type == "Shape" else g.rank(result), names)
        first = self._first.setdefault(key, result)
        return None if first is result else first

    def rewrite(self, node: ir.Node, match: ir.Value) -> None:
        """Let every reader take the earlier value. Dead nodes stay until `tidy`: they may be an earlier value too."""
        node.outputs[0].replace_all_uses_with(match, replace_graph_outputs=True)
