"""Reshape to three axes, Transpose, Reshape back -> one Transpose of the last two axes.

PyTorch's dynamo exporter spells K^T of scaled_dot_product_attention like this.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule

__all__ = ["SwapLastAxes"]


class SwapLastAxes(Rule):
    """Start at the last Reshape: [a, b, m, n] -> [a b, m, n] -> [a b, n, m] -> [a, b, n, m]."""

    name = "swap_last_axes"
    anchors: ClassVar = frozenset({"Reshape"})

    def check(self, node: ir.Node) -> ir.Value | Refusal | None:
        """Return the four-dimensional input, when every size provably comes back."""
        transpose = g.produced_by(node.inputs[0], "Transpose")
        if transpose is None or tuple(g.attribute(transpose, "perm", ())) != (0, 2, 1):
            return None
        first = g.produced_by(transpose.inputs[0], "Reshape")
        x = None if first is None else first.inputs[0]
        if first is None or x is None or g.rank(x) != 4 or g.rank(node.outputs[0]) != 4:
            return None
        before, folded, after = (_sizes(value) for value in (x, first.outputs[0], node.outputs[0]))
        if None in before or folded[1:] != before[2:] or after != (*before[:2], before[3], before[2]):
            return Refusal("the sizes before and after are not provably the same")
        return x

    def rewrite(self, node: ir.Node, match: ir.Value) -> None:
        """One Transpose."""
        g.substitute(node.outputs[0], g.insert_before(node, "Transpose", [match], {"perm": [0, 1, 3, 2]}))


def _sizes(value: ir.Value) -> tuple[int | str | None, ...]:
    """Numbers and symbols; None where a size has no name."""
    return tuple(size if isinstance(size, int) else size.value for size in value.shape or ())
