"""A constant factor per feature behind a sparse layer (LayerScale) moves into its rows and its bias.

s * (W x + c) = (diag(s) W) x + s * c. Dense layers stay as they are, see `fold_norm`.
"""

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._linear import Linear, linear_behind
from platon_compress.export.passes._rule import Refusal, Rule

__all__ = ["FoldLayerScale"]


class FoldLayerScale(Rule):
    """Start at a Mul by a constant vector; the layer in front of it takes the factors."""

    name = "fold_layer_scale"
    anchors: ClassVar = frozenset({"Mul"})

    def check(self, node: ir.Node) -> tuple[Linear, np.ndarray] | Refusal | None:
        """One factor must be a constant [features], the other the result of a layer that nothing else reads."""
        for index in (0, 1):
            scale, linear = g.constant(node.inputs[index]), linear_behind(node.inputs[1 - index])
            if scale is None or linear is None or scale.shape != (g.static_dim(linear.result, -1),):
                continue
            if not linear.sparse:
                return None
            if linear.shared:
                return Refusal("the layer's weight is used elsewhere too")
            return linear, np.asarray(scale, np.float64)
        return None

    def rewrite(self, node: ir.Node, match: tuple[Linear, np.ndarray]) -> None:
        """Scale the layer and drop the product."""
        linear, scale = match
        linear.scale_outputs(scale)
        g.substitute(node.outputs[0], linear.result)
