"""A linear layer without any weight leaves the graph, and with it all that only it reads: a whole attention or feed-forward.

x + s * (W h + c) with W = 0 is x + s * c, whatever h is. Constant vectors that are added or multiplied on the way to the
residual sum are worked out here. Without such a sum the layer stays: it alone says how large its output is.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule

__all__ = ["DropEmpty"]


@dataclass(frozen=True)
class _Residual:
    """The sum that the layer feeds, what else it adds, and the constant [features] that takes the layer's place."""

    sum: ir.Node
    other: ir.Value
    constant: np.ndarray


class DropEmpty(Rule):
    """Start at a MatMul by a constant matrix that is all zero."""

    name = "drop_empty"
    anchors: ClassVar = frozenset({"MatMul"})

    def check(self, node: ir.Node) -> _Residual | Refusal | None:
        """Follow the product to the residual sum."""
        weight = g.constant(node.inputs[1])
        if weight is None or weight.ndim != 2 or weight.any():
            return None
        value, vector = node.outputs[0], np.zeros(weight.shape[1], np.float64)
        while (
            (user := g.single_use(value)) is not None and user.op_type in ("Add", "Mul") and not user.domain
        ):
            other = g.other_input(user, value)
            factor = g.constant(other)
            computed = user.op_type == "Add" and factor is None
            if other is not None and computed and g.same_shape(other, user.outputs[0]):
                return _Residual(user, other, vector)
            if factor is None or factor.size not in (1, len(vector)) or factor.ndim > 1:
                break
            vector = vector + factor if user.op_type == "Add" else vector * factor
            value = user.outputs[0]
        return Refusal(
            "its weight is all zero, but no residual sum follows that says how large its output is"
        )

    def rewrite(self, node: ir.Node, match: _Residual) -> None:
        """Add the constant alone; nothing where it is zero."""
        if not match.constant.any():
            _bypass(match.sum, match.other)
            return
        if not isinstance(node.graph, ir.Graph):
            raise TypeError("a layer can only be dropped in the main graph")
        name = f"{g.module_path(node) or node.name}.constant"
        vector = g.add_constant(node.graph, name, match.constant.astype(np.float32))
        g.substitute(match.sum.outputs[0], g.insert_before(match.sum, "Add", [match.other, vector]))


def _bypass(node: ir.Node, source: ir.Value) -> None:
    """Readers of a sum take its other term, which keeps its own name."""
    result = node.outputs[0]
    if result.is_graph_output():
        g.substitute(result, g.insert_before(node, "Identity", [source]))
        return
    result.replace_all_uses_with(source)
    g.erase_if_dead(node)
