"""Attention spelled out -> the standard `Attention` operator (opset 23), which ONNX Runtime runs in one node.

In a file of an earlier opset only where `swap_attention` will take it: a body of ours needs no opset 23.

`benchmarks/node_profile.py` shows what either form costs in a model.

softmax(scale * Q K^T + mask) V. Rules: [scale] constant factors on Q, on K and on the product multiply;
[mask] an added term, or a Where between scores and a very negative constant, which becomes an added term;
[bias] two terms added one after the other (MPNet's relative positions, then the mask) are added to one another first;
[heads] Q, K, V and the result lose their Reshape and Transpose when all four have them, else none does.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.attention_body import HIDDEN
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.passes._sizes import sizes_in
from platon_compress.export.passes._tokens import of_same_tokens
from platon_compress.export.sparse_linear import is_sparse_linear

__all__ = ["ATTENTION_OPSET", "NEVER", "FuseAttention"]

ATTENTION_OPSET = 23

_TO_HEADS = (0, 2, 1, 3)  # [batch, tokens, heads, size] <-> [batch, heads, tokens, size]
_SWAP_LAST = (0, 1, 3, 2)
_UNCHANGED = (0, 1, 2, 3)
_LATER = f"the standard Attention needs opset {ATTENTION_OPSET}, and the file has an earlier one"
NEVER = -1e4  # a score this low has the probability 0 in float32


@dataclass(frozen=True)
class _Operand:
    """A factor of a product: `value` transposed by `perm` and multiplied by `scale`."""

    value: ir.Value
    perm: tuple[int, ...]
    scale: float


@dataclass(frozen=True)
class _Mask:
    """An additive mask; or a condition and what it adds to a score where it holds and where it does not.

    bias: a second additive term.
    """

    value: ir.Value
    choices: tuple[float, float] | None = None
    bias: ir.Value | None = None


@dataclass(frozen=True)
class _Attention:
    """perms: how Q, K and V must be transposed first (nothing to do when heads are merged).

    features: heads times size of the result when heads are merged; the graph may not say it (a Reshape to -1).
    """

    q: ir.Value
    k: ir.Value
    v: ir.Value
    perms: tuple[tuple[int, ...], ...]
    mask: _Mask | None
    scale: float
    heads: int | None
    features: int | None
    result: ir.Value


class FuseAttention(Rule):
    """Start at a Softmax; everything between the three linears and the next one becomes one node."""

    name = "fuse_attention"
    anchors: ClassVar = frozenset({"Softmax"})

    def check(self, node: ir.Node) -> _Attention | Refusal | None:
        """Read the scores below and the product with V above."""
        if g.rank(node.inputs[0]) != 4 or g.attribute(node, "axis", -1) not in (-1, 3):
            return None
        product = _product_with_values(node)
        if product is None:
            return Refusal("the probabilities are read by something other than one product with the values")
        scores, mask = _split_mask(node.inputs[0])
        if mask is not None and not _ranks_known(mask):
            return Refusal("the rank of the mask is unknown")
        scores, factor = _split_scale(scores)
        matmul = g.produced_by(scores, "MatMul")
        if matmul is None:
            return Refusal("the scores are not one product of queries and keys (a relative position term?)")
        q, k, v = (_operand(value) for value in (*matmul.inputs, product.inputs[1]))
        if q is None or k is None or v is None or v.scale != 1.0:
            return Refusal("queries, keys or values are not computed in a form that the operator takes")
        found = _assembled(q, k, v, mask, factor, product.outputs[0])
        return found if _fits_opset(found, node) else Refusal(_LATER)

    def rewrite(self, node: ir.Node, match: _Attention) -> None:
        """Write the node where the result is complete."""
        end = match.result.producer()
        if end is None:
            raise TypeError("the end of an attention block must be a node")
        attributes: dict[str, int | float] = {"scale": match.scale}
        if match.heads is not None:
            attributes |= {"q_num_heads": match.heads, "kv_num_heads": match.heads}
        inputs = [
            value if perm == _UNCHANGED else g.insert_before(end, "Transpose", [value], {"perm": perm})
            for value, perm in zip((match.q, match.k, match.v), match.perms, strict=True)
        ]
        query_axis = 1 if match.heads is not None else 2
        if match.mask is not None:
            inputs.append(_mask_for(end, match.mask, inputs[0], query_axis))
        fused = g.insert_before(end, "Attention", inputs, attributes)
        if match.features is not None:
            fused.shape = ir.Shape([*(match.q.shape or (None, None))[:2], match.features])
        g.substitute(match.result, fused)


def _fits_opset(found: _Attention, node: ir.Node) -> bool:
    """Whether the file may hold the standard operator, or our own takes its place."""
    graph = node.graph
    if graph is None or graph.opset_imports[""] >= ATTENTION_OPSET:
        return True
    ours = any(is_sparse_linear(other) for other in graph)
    return ours and found.heads is not None and of_same_tokens((found.q, found.k, found.v))


def _product_with_values(softmax: ir.Node) -> ir.Node | None:
    """The MatMul of the probabilities with V."""
    node = g.single_use(softmax.outputs[0])
    return (
        node
        if node is not None and node.op_type == "MatMul" and node.inputs[0] is softmax.outputs[0]
        else None
    )


def _split_mask(scores: ir.Value | None) -> tuple[ir.Value | None, _Mask | None]:
    """(scores without their mask, the mask)."""
    node = g.produced_by(scores, "Add", "Where")
    if node is None or scores is None or g.single_use(scores) is None:
        return scores, None
    if node.op_type == "Add":
        return _split_sum(node) or (scores, None)
    condition, kept, other = node.inputs
    if condition is not None and _is_never(other):
        return kept, _Mask(_unexpanded(condition, kept), (0.0, HIDDEN))
    if condition is not None and _is_never(kept):
        return other, _Mask(_unexpanded(condition, other), (HIDDEN, 0.0))
    return scores, None


def _split_sum(node: ir.Node) -> tuple[ir.Value, _Mask] | None:
    """(scores, what is added to them), where one side is the product, or itself the sum of the product and a bias."""
    if (found := _product_and_term(node)) is not None:
        return found[0], _Mask(found[1])
    for own, mask in (node.inputs, reversed(node.inputs)):
        inner = None if own is None or g.single_use(own) is None else g.produced_by(own, "Add")
        found = None if inner is None else _product_and_term(inner)
        if found is not None and mask is not None:
            return found[0], _Mask(mask, bias=found[1])
    return None


def _product_and_term(node: ir.Node) -> tuple[ir.Value, ir.Value] | None:
    """(the side of a sum that is a scaled product, the other one)."""
    first, second = node.inputs
    if first is None or second is None:
        return None
    products = [g.produced_by(_split_scale(value)[0], "MatMul") is not None for value in (first, second)]
    if products[0] == products[1]:
        return None
    return (first, second) if products[0] else (second, first)


def _ranks_known(mask: _Mask) -> bool:
    return all(g.rank(value) in (2, 3, 4) for value in (mask.value, mask.bias) if value is not None)


def _unexpanded(condition: ir.Value, scores: ir.Value | None) -> ir.Value:
    """The condition before it was spread to the shape of the scores, which Where does by itself.

    Whoever keeps the Expand computes all scores a second time, for nothing but their shape.
    """
    cast = g.produced_by(condition, "Cast")
    source = condition if cast is None else cast.inputs[0]
    expand = g.produced_by(source, "Expand")
    shape = None if expand is None else g.produced_by(expand.inputs[1], "Shape")
    if expand is None or shape is None or shape.attributes or shape.inputs[0] is not scores:
        return condition
    inner = expand.inputs[0]
    return inner if inner is not None and inner.dtype == ir.DataType.BOOL else condition


def _is_never(value: ir.Value | None) -> bool:
    number = g.scalar(value)
    return number is not None and number < NEVER


def _split_scale(value: ir.Value | None) -> tuple[ir.Value | None, float]:
    """(x, factor) of x * factor or x / divisor, repeatedly."""
    factor = 1.0
    while (node := g.produced_by(value, "Mul", "Div")) is not None:
        number = g.scalar(node.inputs[1])
        inner = node.inputs[0]
        if number is None and node.op_type == "Mul":
            number, inner = g.scalar(node.inputs[0]), node.inputs[1]
        if not number:
            break
        factor = factor * number if node.op_type == "Mul" else factor / number
        value = inner
    return value, factor


def _operand(value: ir.Value | None) -> _Operand | None:
    """Peel constant factors and transposes off a four-dimensional factor."""
    perm, scale = _UNCHANGED, 1.0
    while True:
        value, factor = _split_scale(value)
        scale *= factor
        node = g.produced_by(value, "Transpose")
        if node is None:
            break
        inner = tuple(g.attribute(node, "perm", ()))
        if len(inner) != 4:
            return None
        perm = tuple(inner[axis] for axis in perm)
        value = node.inputs[0]
    return None if value is None or g.rank(value) != 4 else _Operand(value, perm, scale)


def _assembled(
    q: _Operand, k: _Operand, v: _Operand, mask: _Mask | None, factor: float, product: ir.Value
) -> _Attention:
    """Choose between merged heads and separate heads."""
    scale = q.scale * k.scale * factor
    k_perm = tuple(k.perm[axis] for axis in _SWAP_LAST)
    merged = [_merged(operand) for operand in (q, k, v)]
    result = _merged_result(product, v)
    perms = (q.perm, k_perm, v.perm)
    if perms == (_TO_HEADS,) * 3 and result is not None and None not in merged:
        query, key, value = (source for source in merged if source is not None)
        heads = {g.static_dim(operand.value, 2) for operand in (q, k, v)}
        if len(heads) == 1 and None not in heads:
            features = g.static_dim(value, 2)
            return _Attention(
                query, key, value, (_UNCHANGED,) * 3, mask, scale, heads.pop(), features, result
            )
    return _Attention(q.value, k.value, v.value, perms, mask, scale, None, None, product)


def _merged(operand: _Operand) -> ir.Value | None:
    """[batch, tokens, heads * size] behind the Reshape that splits the heads."""
    node = g.produced_by(operand.value, "Reshape")
    source = None if node is None else node.inputs[0]
    sizes = [g.static_dim(operand.value, axis) for axis in (2, 3)]
    if source is None or g.rank(source) != 3 or None in sizes:
        return None
    return (
        source if g.static_dim(source, 2) == np.prod([size for size in sizes if size is not None]) else None
    )


def _merged_result(product: ir.Value, v: _Operand) -> ir.Value | None:
    """The value at which the heads are side by side again."""
    transpose = g.single_use(product)
    if transpose is None or transpose.op_type != "Transpose":
        return None
    reshape = g.single_use(transpose.outputs[0])
    if (
        tuple(g.attribute(transpose, "perm", ())) != _TO_HEADS
        or reshape is None
        or reshape.op_type != "Reshape"
    ):
        return None
    result, width = reshape.outputs[0], [g.static_dim(v.value, axis) for axis in (2, 3)]
    sizes = sizes_in(reshape.inputs[1])
    if sizes is None or len(sizes) != 3 or None in width:
        return None
    side_by_side = (-1, int(np.prod([size for size in width if size is not None])))
    return result if sizes[2] in side_by_side or g.static_dim(result, 2) == side_by_side[1] else None


def _mask_for(end: ir.Node, mask: _Mask, queries: ir.Value, axis: int) -> ir.Value:
    """The mask with one row per query token: the runtime broadcasts batch and heads, not rows."""
    graph = end.graph
    if not isinstance(graph, ir.Graph):
        raise TypeError("a mask can only be prepared in the main graph")
    rows = _symbol(mask.value if mask.bias is None else mask.bias, -2)
    if mask.choices is None:
        floor = g.add_constant(graph, "hidden_score", np.array(HIDDEN, np.float32))
        added = mask.value if mask.bias is None else g.insert_before(end, "Add", [mask.value, mask.bias])
        value = g.insert_before(end, "Max", [added, floor])
    else:
        numbers = [g.add_constant(graph, f"score_{n:g}", np.array(n, np.float32)) for n in mask.choices]
        value = g.insert_before(end, "Where", [mask.value, *numbers])
    if rows is not None and rows == _symbol(queries, axis):
        return value
    one = g.add_constant(graph, "one_1d", np.array([1], np.int64))
    count = g.insert_before(end, "Shape", [queries], {"start": axis, "end": axis + 1})
    shape = g.insert_before(end, "Concat", [count, one], {"axis": 0})
    return g.insert_before(end, "Expand", [value, shape])


def _symbol(value: ir.Value, axis: int) -> str | None:
    """Name of a dynamic size."""
    if value.shape is None or len(value.shape) < 2:
        return None
    size = value.shape[axis]
    return size.value if isinstance(size, ir.SymbolicDim) else None
