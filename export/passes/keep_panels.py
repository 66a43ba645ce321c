"""Neighbouring sparse layers hand their activations on in the kernel's own layout (`panels`).

Between a layer's output and the next layer's input nothing is unpacked and packed again (a feed-forward block's
two layers). Standard operators see no difference: the shape stays, and the fallback functions ignore the layout.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes._rule import Rule
from platon_compress.export.sparse_linear import is_sparse_linear, set_panels

__all__ = ["KeepPanels"]


class KeepPanels(Rule):
    """A SparseLinear whose result only other SparseLinear nodes read as X writes panels, and they read them."""

    name = "keep_panels"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> tuple[ir.Node, ...] | None:
        """The readers, when all can take panels."""
        value = node.outputs[0]
        readers = tuple(user for user, _ in value.uses())
        fits = all(is_sparse_linear(user) and index == 0 for user, index in value.uses())
        return readers if readers and fits and not value.is_graph_output() else None

    def rewrite(self, node: ir.Node, match: tuple[ir.Node, ...]) -> None:
        """Set the layouts on both sides."""
        set_panels(node, "output_layout")
        for reader in match:
            set_panels(reader, "input_layout")
