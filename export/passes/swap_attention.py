"""Standard Attention -> a form of our own, which has a body in standard operators of any opset from 18 on.

Only in graphs that need our library anyway: without a sparse layer, attention stays standard.
"""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.attention_op import OP_TYPE, AttentionInput
from platon_compress.export.operators import DOMAIN
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.passes._tokens import of_same_tokens
from platon_compress.export.passes.padding_mask import hides_padding, padding_scores
from platon_compress.export.sparse_linear import is_sparse_linear

__all__ = ["SwapAttention"]

_KNOWN = frozenset({"q_num_heads", "kv_num_heads", "scale"})


@dataclass(frozen=True)
class _Attention:
    mask: ir.Value | None
    heads: int
    scale: float


class SwapAttention(Rule):
    """Self-attention with merged heads in a graph with sparse layers."""

    name = "swap_attention"
    anchors: ClassVar = frozenset({"Attention"})

    def __init__(self) -> None:
        self._simple: dict[ir.Value, ir.Value] = {}  # mask as it was -> what the operator gets

    def check(self, node: ir.Node) -> _Attention | Refusal | None:
        """Refuse what the operator does not compute."""
        heads = g.attribute(node, "q_num_heads", None)
        if node.domain or heads is None or not _in_sparse_graph(node):
            return None
        scale = g.attribute(node, "scale", None)
        plain = scale is not None and set(node.attributes) <= _KNOWN and len(node.outputs) == 1
        if not plain or g.attribute(node, "kv_num_heads", heads) != heads or len(node.inputs) > 4:
            return Refusal("the attention has an option or a cache that our own attention does not know")
        if not of_same_tokens(node.inputs[: AttentionInput.V + 1]):
            return Refusal("queries and keys may be of different tokens (cross-attention?)")
        mask = node.inputs[3] if len(node.inputs) > 3 else None
        return _Attention(mask, heads, scale)

    def rewrite(self, node: ir.Node, match: _Attention) -> None:
        """The mask is broadcast by the operator itself."""
        inputs: list[ir.Value | None] = [*node.inputs[:3]]
        if match.mask is not None:
            if match.mask not in self._simple:
                self._simple[match.mask] = _simplified(match.mask, node)
            inputs.append(self._simple[match.mask])
        attributes = {"num_heads": match.heads, "scale": match.scale}
        new = g.insert_before(node, OP_TYPE, inputs, attributes, domain=DOMAIN)
        g.substitute(node.outputs[0], new)


def _in_sparse_graph(node: ir.Node) -> bool:
    return node.graph is not None and any(is_sparse_linear(other) for other in node.graph)


def _simplified(mask: ir.Value, anchor: ir.Node) -> ir.Value:
    """One row for all queries where the mask only hides padding; else the mask before its rows were expanded."""
    graph = anchor.graph
    if isinstance(graph, ir.Graph) and hides_padding(mask, graph):
        return padding_scores(graph)
    return _before_rows(mask)


def _before_rows(mask: ir.Value) -> ir.Value:
    """The mask before it was expanded to one row per query for the standard operator."""
    expand = g.produced_by(mask, "Expand")
    shape = None if expand is None else g.produced_by(expand.inputs[1], "Concat")
    if expand is None or shape is None or len(shape.inputs) != 2 or g.scalar(shape.inputs[1]) != 1:
        return mask
    return expand.inputs[0] or mask
