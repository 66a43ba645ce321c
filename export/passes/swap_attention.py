"""Standard Attention between sparse layers -> `platon::Attention`, which reads and writes the kernel's own layout.

Only in graphs that need our library anyway: an attention of which no neighbour is a SparseLinear stays standard.
"""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.attention_op import ATTENTION_VERSION, OP_TYPE, AttentionInput
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.passes.padding_mask import hides_padding, padding_scores
from platon_compress.export.sparse_linear import DOMAIN, is_sparse_linear
from platon_compress.export.sparse_linear import OP_TYPE as SPARSE

__all__ = ["SwapAttention"]

_KNOWN = frozenset({"q_num_heads", "kv_num_heads", "scale"})


@dataclass(frozen=True)
class _Attention:
    mask: ir.Value | None
    heads: int
    scale: float


class SwapAttention(Rule):
    """Self-attention with merged heads beside a sparse layer."""

    name = "swap_attention"
    anchors: ClassVar = frozenset({"Attention"})

    def __init__(self) -> None:
        self._simple: dict[ir.Value, ir.Value] = {}  # mask as it was -> what the operator gets

    def check(self, node: ir.Node) -> _Attention | Refusal | None:
        """Refuse what the operator does not compute."""
        heads = g.attribute(node, "q_num_heads", None)
        if node.domain or heads is None or not _beside_sparse(node):
            return None
        scale = g.attribute(node, "scale", None)
        plain = scale is not None and set(node.attributes) <= _KNOWN and len(node.outputs) == 1
        if not plain or g.attribute(node, "kv_num_heads", heads) != heads or len(node.inputs) > 4:
            return Refusal("the attention has an option or a cache that platon::Attention does not know")
        if not _same_tokens(node):
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
        attributes = {"num_heads": match.heads, "scale": match.scale, "format_version": ATTENTION_VERSION}
        new = g.insert_before(node, OP_TYPE, inputs, attributes, domain=DOMAIN)
        g.substitute(node.outputs[0], new)


def _beside_sparse(node: ir.Node) -> bool:
    before = (value.producer() for value in node.inputs[:3] if value is not None)
    after = (user for user, _ in node.outputs[0].uses())
    return any(other is not None and is_sparse_linear(other) for other in (*before, *after))


def _same_tokens(node: ir.Node) -> bool:
    """Whether Q, K and V are known to have one number of tokens, or are computed from the same activations."""
    operands = [value for value in node.inputs[: AttentionInput.V + 1] if g.rank(value) == 3]
    if len(operands) < 3:
        return False
    tokens, sources = {_tokens(value) for value in operands}, {_source(value) for value in operands}
    return any(len(found) == 1 and None not in found for found in (tokens, sources))


def _tokens(value: ir.Value | None) -> int | str | None:
    """The number of tokens, or its name."""
    if value is None or value.shape is None:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else size.value


def _source(value: ir.Value | None) -> ir.Value | None:
    """What the sparse layer that computes `value` reads."""
    layer = g.produced_by(value, SPARSE)
    return layer.inputs[0] if layer is not None and is_sparse_linear(layer) else None


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
