"""Sparse layers that read the same activations (Q, K and V) pack them once, in a node of its own."""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Rule
from platon_compress.export.sparse_linear import DOMAIN, PACK_OP_TYPE, is_sparse_linear, set_panels

__all__ = ["SharePacked"]


class SharePacked(Rule):
    """Two or more SparseLinear nodes on one token-major X read the result of one PackTokens instead."""

    name = "share_packed"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> tuple[ir.Node, ...] | None:
        """All layers on the same input, when `node` is the first of at least two."""
        x = node.inputs[0]
        if not is_sparse_linear(node) or x is None or "input_layout" in node.attributes:
            return None
        layers = tuple(user for user, index in x.uses() if index == 0 and is_sparse_linear(user))
        return layers if len(layers) > 1 else None

    def rewrite(self, node: ir.Node, match: tuple[ir.Node, ...]) -> None:
        """Pack in front of the first layer in the graph's order, which is the one `apply_rule` meets first."""
        x = node.inputs[0]
        packed = g.insert_before(node, PACK_OP_TYPE, [x], domain=DOMAIN)
        if x is not None:
            packed.shape, packed.type = x.shape, x.type
        for layer in match:
            layer.replace_input_with(0, packed)
            set_panels(layer, "input_layout")
