"""Reshape to a shape computed at run time -> Reshape to constants, where sizes are provably copied.

Exporters rebuild `[batch, -1, heads, size]` from Shape, Gather, Unsqueeze and Concat in every layer. A 0 in a
Reshape's shape copies the input's size at that position; one -1 stands for whatever is left.
Rules: [constant] stays; [copy] a size of some tensor with the same symbol as the input's size at that
position becomes 0; [rest] one unknown size becomes -1; more than one unknown size is refused.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.passes._sizes import Size, sizes_in

__all__ = ["StaticReshape"]


@dataclass(frozen=True)
class _Target:
    """The constant shape, and what is known of the result's sizes."""

    shape: tuple[int, ...]
    sizes: tuple[Size, ...]


class StaticReshape(Rule):
    """Replace the computed shape of a Reshape by a constant one."""

    name = "static_reshape"
    anchors: ClassVar = frozenset({"Reshape"})

    def check(self, node: ir.Node) -> _Target | Refusal | None:
        """Work out each position of the shape."""
        data, shape = node.inputs
        if data is None or g.constant(shape) is not None or g.attribute(node, "allowzero", 0):
            return None
        sizes = sizes_in(shape)
        if sizes is None:
            return Refusal("the shape is not put together from sizes and constants")
        sizes = _with_known_result(sizes, node.outputs[0])
        target = tuple(_entry(size, position, data) for position, size in enumerate(sizes))
        if target.count(-1) > 1:
            return Refusal("more than one size of the result is unknown before run time")
        return _Target(target, sizes)

    def rewrite(self, node: ir.Node, match: _Target) -> None:
        """Store the constant, shared by equal shapes, and pass on what is known of the result."""
        graph = node.graph
        if not isinstance(graph, ir.Graph):
            raise TypeError("shapes can only be fixed in the main graph")
        name = "shape_" + "_".join(str(size).replace("-", "m") for size in match.shape)
        old = node.inputs[1]
        node.replace_input_with(1, g.add_constant(graph, name, np.array(match.shape, np.int64)))
        node.outputs[0].shape = ir.Shape([_dim(s) for s in match.sizes])
        producer = None if old is None else old.producer()
        if producer is not None:
            g.erase_if_dead(producer)


def _dim(size: Size) -> int | str | None:
    return None if size == -1 else size


def _entry(size: Size, position: int, data: ir.Value) -> int:
    """What stands in the constant shape at `position`."""
    if isinstance(size, int):
        return size
    if size is not None and data.shape is not None and position < len(data.shape):
        own = data.shape[position]
        if isinstance(own, ir.SymbolicDim) and own.value == size:
            return 0
    return -1


def _with_known_result(sizes: tuple[Size, ...], result: ir.Value) -> tuple[Size, ...]:
    """Sizes that shape inference knows although the graph computes them."""
    if result.shape is None or len(result.shape) != len(sizes):
        return sizes
    known = [size if isinstance(size, int) else None for size in result.shape]
    return tuple(
        k if isinstance(k, int) and not isinstance(s, int) else s for s, k in zip(sizes, known, strict=True)
    )
