"""Sparse layers that read the same activations (Q, K and V) pack them once, in a node of its own.

A layer that adds the same activations as its residual takes the packed ones too.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Rule
from platon_compress.export.passes.keep_panels import SIDE_OF_INPUT
from platon_compress.export.sparse_linear import DOMAIN, PACK_OP_TYPE, Input, is_sparse_linear, set_panels

__all__ = ["SharePacked"]


class SharePacked(Rule):
    """Two or more SparseLinear nodes on one token-major X read the result of one PackTokens instead."""

    name = "share_packed"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> ir.Value | None:
        """The common input, when `node` is the first of at least two layers that multiply it."""
        x = node.inputs[0]
        if not is_sparse_linear(node) or x is None or "input_layout" in node.attributes:
            return None
        return x if sum(place == Input.X for _, place in _readers(x)) > 1 else None

    def rewrite(self, node: ir.Node, match: ir.Value) -> None:
        """Pack in front of the first layer in the graph's order, which is the one `apply_rule` meets first."""
        packed = g.insert_before(node, PACK_OP_TYPE, [match], domain=DOMAIN)
        packed.shape, packed.type = match.shape, match.type
        for layer, place in _readers(match):
            layer.replace_input_with(place, packed)
            set_panels(layer, SIDE_OF_INPUT[Input(place)])


def _readers(x: ir.Value) -> tuple[tuple[ir.Node, int], ...]:
    """Sparse layers that multiply `x`, or add it as their residual."""
    return tuple(
        (user, place) for user, place in x.uses() if is_sparse_linear(user) and place in SIDE_OF_INPUT
    )
