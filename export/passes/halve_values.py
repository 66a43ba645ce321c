"""Sparse weights that float16 holds exactly (`bake(values="float16")`) are stored in it: two bytes less each.

The operator widens them when a session is made, so nothing but the file's size changes.
"""

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear
from platon_compress.export.value_types import carry_note

__all__ = ["HalveValues"]


class HalveValues(Rule):
    """Replace the values of a SparseLinear by their float16 form where that loses nothing."""

    name = "halve_values"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> np.ndarray | None:
        """The float16 values."""
        values = g.constant(node.inputs[Input.VALUES]) if is_sparse_linear(node) else None
        if values is None or values.dtype != np.float32 or not values.size:
            return None
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        return halves if np.array_equal(halves.astype(np.float32), values) else None

    def rewrite(self, node: ir.Node, match: np.ndarray) -> None:
        """Nodes that share their values go on sharing."""
        values, graph = node.inputs[Input.VALUES], node.graph
        if values is None or not isinstance(graph, ir.Graph):
            raise TypeError("values can only be stored in the main graph")
        halves = g.add_constant(graph, f"{values.name}.half", match)
        carry_note(values, halves)
        node.replace_input_with(Input.VALUES, halves)
