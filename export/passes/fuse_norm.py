"""SparseLinear + LayerNormalization -> SparseLinear with norm, once the layer's residual is folded."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear

__all__ = ["FuseNorm"]


@dataclass(frozen=True)
class _Norm:
    layer: ir.Node
    scale: ir.Value
    shift: ir.Value | None
    epsilon: float


class FuseNorm(Rule):
    """A norm over the last axis joins the layer in front of it.

    Post-norm blocks (BERT) read the norm only; pre-norm blocks (ViT) read the sum too, as a second output.
    """

    name = "fuse_norm"
    anchors: ClassVar = frozenset({"LayerNormalization"})

    def check(self, node: ir.Node) -> _Norm | Refusal | None:
        """The layer, and the norm's constant weights."""
        x = node.inputs[0]
        layer = g.produced_by(x, "SparseLinear")
        if x is None or layer is None or not is_sparse_linear(layer) or len(layer.outputs) > 1:
            return None
        scale, shift = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
        reason = _refusal(node, x, layer, (scale, shift))
        if reason or scale is None:
            return Refusal(reason or "it has no scale")
        return _Norm(layer, scale, shift, g.attribute(node, "epsilon", 1e-5))

    def rewrite(self, node: ir.Node, match: _Norm) -> None:
        """The layer's first output becomes the norm, the second one the sum where others read it."""
        layer, total = match.layer, match.layer.outputs[0]
        if g.single_use(total) is None:
            layer.resize_outputs(2)
            kept = layer.outputs[1]
            kept.name, kept.shape, kept.type = (
                f"{total.name}_sum",
                total.shape,
                total.type,
            )
            for user, place in tuple(total.uses()):
                if user is not node:
                    user.replace_input_with(place, kept)
        layer.resize_inputs(Input.SHIFT + 1)
        layer.replace_input_with(Input.SCALE, match.scale)
        layer.replace_input_with(Input.SHIFT, match.shift or _zeros(layer))
        layer.attributes["epsilon"] = ir.AttrFloat32("epsilon", match.epsilon)
        g.substitute(node.outputs[0], total)


def _refusal(node: ir.Node, x: ir.Value, layer: ir.Node, weights: tuple[ir.Value | None, ...]) -> str | None:
    features = ir.Shape([layer.attributes["out_features"].as_int()])
    if x.is_graph_output():
        return "the sum in front of the norm leaves the graph"
    if len(layer.inputs) > Input.SCALE or layer.attributes["activation"].as_string():
        return "the layer has a norm or an activation already"
    if any(output.uses() for output in node.outputs[1:]):
        return "the norm's statistics are read"
    if g.attribute(node, "axis", -1) not in (-1, (g.rank(x) or 0) - 1):
        return "it normalises over more than the last axis"
    if not all(value is None or _is_vector(value, features) for value in weights):
        return "its scale or bias is not one constant per feature"
    return None


def _is_vector(value: ir.Value, shape: ir.Shape) -> bool:
    array = g.constant(value)
    return array is not None and array.dtype == np.float32 and value.shape == shape


def _zeros(layer: ir.Node) -> ir.Value:
    graph, features = layer.graph, layer.attributes["out_features"].as_int()
    if not isinstance(graph, ir.Graph):
        raise TypeError("a norm can only be folded in the main graph")
    return g.add_constant(graph, f"zeros_{features}", np.zeros(features, np.float32))
