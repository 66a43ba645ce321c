"""SparseLinear + computed Add -> SparseLinear with residual: the sum is taken while it lies in the cache."""

from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear

__all__ = ["FoldResidual"]


@dataclass(frozen=True)
class _Sum:
    layer: ir.Node
    residual: ir.Value


class FoldResidual(Rule):
    """Move an Add of two values of one shape into the sparse layer that alone feeds one side of it."""

    name = "fold_residual"
    anchors: ClassVar = frozenset({"Add"})

    def check(self, node: ir.Node) -> _Sum | Refusal | None:
        """The layer and what is added to it."""
        layer = next(
            (value.producer() for value in node.inputs if value is not None and _is_free(value)), None
        )
        if layer is None:
            return None
        residual = g.other_input(node, layer.outputs[0])
        if residual is None or g.constant(residual) is not None:
            return None
        if layer.attributes["activation"].as_string():
            return Refusal("the layer has an activation, which comes before the sum")
        if not g.same_shape(layer.outputs[0], residual):
            return Refusal(f"{residual.name} may have another shape than the layer's output")
        return _Sum(layer, residual)

    def rewrite(self, node: ir.Node, match: _Sum) -> None:
        """The layer takes the Add's place, where both sides are known."""
        layer, graph = match.layer, node.graph
        if not isinstance(graph, ir.Graph):
            raise TypeError("a residual can only be folded in the main graph")
        graph.remove(layer)
        graph.insert_before(node, layer)
        layer.resize_inputs(Input.RESIDUAL + 1)
        layer.replace_input_with(Input.RESIDUAL, match.residual)
        g.substitute(node.outputs[0], layer.outputs[0])


def _is_free(value: ir.Value) -> bool:
    """Whether a sparse layer without residual or norm computes `value` for one reader only."""
    layer = g.produced_by(value, "SparseLinear")
    if layer is None or not is_sparse_linear(layer):
        return False
    return g.single_use(value) is not None and len(layer.inputs) <= Input.RESIDUAL and len(layer.outputs) == 1
