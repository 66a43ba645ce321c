"""Sizes read from a tensor at run time -> constants, where shape inference knows them.

PyTorch's tracing exporter divides by the square root of a head size that it reads from a shape, in every layer.
"""

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Rule
from platon_compress.export.passes._sizes import sizes_in

__all__ = ["FoldSizes"]


class FoldSizes(Rule):
    """Replace a Shape, Gather, Slice or Concat whose entries are all known numbers."""

    name = "fold_sizes"
    anchors: ClassVar = frozenset({"Shape", "Gather", "Slice", "Concat"})

    def check(self, node: ir.Node) -> np.ndarray | None:
        """The entries, when all are numbers; int64 with the shape of the node's result."""
        result = node.outputs[0]
        if result.dtype != ir.DataType.INT64 or g.rank(result) not in (0, 1):
            return None
        sizes = sizes_in(result)
        numbers = [size for size in sizes or () if isinstance(size, int)]
        if sizes is None or len(numbers) != len(sizes) or not numbers:
            return None
        return np.array(numbers[0] if g.rank(result) == 0 else numbers, np.int64)

    def rewrite(self, node: ir.Node, match: np.ndarray) -> None:
        """Let the readers take a constant."""
        graph = node.graph
        if not isinstance(graph, ir.Graph):
            raise TypeError("sizes can only be folded in the main graph")
        kind = "size" if match.ndim == 0 else "sizes"
        name = f"{kind}_" + "_".join(str(size).replace("-", "m") for size in match.reshape(-1))
        node.outputs[0].replace_all_uses_with(g.add_constant(graph, name, match), replace_graph_outputs=True)
        g.erase_if_dead(node)
