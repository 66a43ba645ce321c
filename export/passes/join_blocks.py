"""Sparse layers that hand their result to one another become one node for each half of an encoder block.

[feed forward] a layer with an activation whose result only the next layer multiplies; [self-attention] the stacked
projections, the attention over them and the layer behind it; [pre-norm] with the norm in front of either, where the sum
behind it adds what goes into the norm. Layers of different value types stay apart. Inside a node activations keep the
kernel's own layout; every tensor of the file is plain rows.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import onnx_ir as ir

from platon_compress.export import attention_op, sparse_linear
from platon_compress.export.operators import OPERATORS, Operator
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._become import become
from platon_compress.export.passes._norms import norm_refusal, norm_vectors
from platon_compress.export.passes._rule import Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear, norm, residual, stored
from platon_compress.export.value_types import noted_int8

__all__ = ["JoinBlocks", "JoinPrenormBlocks"]


@dataclass(frozen=True)
class _Block:
    """operator: of the table. inputs and attributes: of the joined node. inside: nodes that go, last one first."""

    operator: Operator
    inputs: list[ir.Value | None]
    attributes: dict[str, Any]
    inside: tuple[ir.Node, ...]


class JoinBlocks(Rule):
    """Start at the last layer of a block, which becomes the joined node."""

    name = "join_blocks"
    anchors: ClassVar = frozenset({sparse_linear.OP_TYPE})

    def check(self, node: ir.Node) -> _Block | None:
        """The block that ends here."""
        if not is_sparse_linear(node) or node.attributes["activation"].as_string():
            return None
        before = _only_for(node.inputs[Input.X])
        if before is None:
            return None
        return _self_attention(node, before) or _feed_forward(node, before)

    def rewrite(self, node: ir.Node, match: _Block) -> None:
        """The last layer takes everything in."""
        become(node, match.operator, match.inputs, match.attributes)
        node.name = (node.name or "").replace(sparse_linear.OP_TYPE, match.operator.kind)
        for inner in match.inside:
            g.erase_if_dead(inner)


class JoinPrenormBlocks(JoinBlocks):
    """Only blocks with a norm in front, which runs before other passes give such norms to the layers before them."""

    name = "join_prenorm_blocks"

    def check(self, node: ir.Node) -> _Block | None:
        """The block that ends here, norm included."""
        block = super().check(node)
        return None if block is None else _with_norm(block, node)


def _with_norm(block: _Block, outer: ir.Node) -> _Block | None:
    """The block that begins at the norm of what its own sum adds."""
    added = sparse_linear.optional_input(outer, Input.RESIDUAL)
    normed = block.inputs[0]
    front = _only_for(normed)
    if (
        front is None
        or added is None
        or front.op_type != "LayerNormalization"
        or front.inputs[0] is not added
    ):
        return None
    first, *parts = block.operator.parts
    parts = ["prenorm" if part == "residual" else part for part in parts]
    operator = OPERATORS.get(Operator(block.operator.kind, (first, *parts), block.operator.encoding).name)
    features = block.attributes["in_features"]
    if operator is None or norm_refusal(front, features):
        return None
    vectors = norm_vectors(front, features)
    named = dict(zip(block.operator.inputs, block.inputs, strict=True)) | {
        "X": added, "prenorm_scale": vectors[0], "prenorm_shift": vectors[1],
    }  # fmt: skip
    attributes = block.attributes | {"prenorm_epsilon": g.attribute(front, "epsilon", 1e-5)}
    return _Block(operator, [named[name] for name in operator.inputs], attributes, (*block.inside, front))


def _only_for(value: ir.Value | None) -> ir.Node | None:
    """The node that computes `value` for one reader."""
    return None if value is None or g.single_use(value) is None else value.producer()


def _feed_forward(outer: ir.Node, inner: ir.Node) -> _Block | None:
    if not is_sparse_linear(inner) or noted_int8(inner) != noted_int8(outer):
        return None
    activation = inner.attributes["activation"].as_string()
    operator = _known("FeedForward", activation, outer)
    if not activation or operator is None:
        return None
    inputs = [inner.inputs[Input.X], *residual(outer), *stored(inner), *stored(outer), *norm(outer)]
    return _Block(operator, inputs, _sizes(inner, outer), (inner,))


def _self_attention(outer: ir.Node, attention: ir.Node) -> _Block | None:
    if not attention_op.is_attention(attention) or attention_op.separate(attention):
        return None
    projections = _only_for(attention.inputs[0])
    masking, hidden = attention_op.masking(attention)
    operator = _known("SelfAttention", masking, outer)
    if projections is None or operator is None or not _plain(projections):
        return None
    if noted_int8(projections) != noted_int8(outer):
        return None
    inputs = [
        projections.inputs[Input.X], *residual(outer), *hidden,
        *stored(projections), *stored(outer), *norm(outer),
    ]  # fmt: skip
    attributes = _sizes(projections, outer) | attention_op.attributes(attention)
    return _Block(operator, inputs, attributes, (attention, projections))


def _known(kind: str, first: str, outer: ir.Node) -> Operator | None:
    return OPERATORS.get(Operator(kind, (first, *sparse_linear.tail(outer)), "csr").name)


def _plain(layer: ir.Node) -> bool:
    return (
        is_sparse_linear(layer)
        and not layer.attributes["activation"].as_string()
        and not sparse_linear.tail(layer)
    )


def _sizes(first: ir.Node, last: ir.Node) -> dict[str, Any]:
    """Attributes of both, with the size of what is between them."""
    own = sparse_linear.attributes(last)
    return own | {
        "in_features": first.attributes["in_features"].as_int(),
        "inner_features": own["in_features"],
    }
