"""SparseLinear + LayerNormalization -> SparseLinear with norm, once the layer's residual is folded.

Post-norm blocks (BERT) read the norm only. In pre-norm blocks (ViT) the sum goes on as well: such a norm belongs to the
block behind it where that is one of ours (`join_blocks`), and else becomes the layer's, with the sum as its second output.
"""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._norms import norm_refusal, norm_vectors
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import Input, is_sparse_linear

__all__ = ["FuseNorm", "FuseNormOfSums"]


class FuseNorm(Rule):
    """A norm over the last axis joins the layer in front of it, whose result nothing else reads."""

    name = "fuse_norm"
    anchors: ClassVar = frozenset({"LayerNormalization"})
    _of_sums: ClassVar = False

    def check(self, node: ir.Node) -> ir.Node | Refusal | None:
        """The layer."""
        x = node.inputs[0]
        layer = g.produced_by(x, "SparseLinear")
        if x is None or layer is None or not is_sparse_linear(layer) or len(layer.outputs) > 1:
            return None
        if not self._of_sums and g.single_use(x) is None:
            return None
        reason = _refusal(node, x, layer)
        return Refusal(reason) if reason else layer

    def rewrite(self, node: ir.Node, match: ir.Node) -> None:
        """The layer's first output becomes the norm, the second one the sum where others read it."""
        layer, total = match, match.outputs[0]
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
        for place, vector in zip(
            (Input.SCALE, Input.SHIFT), norm_vectors(node, _features(layer)), strict=True
        ):
            layer.replace_input_with(place, vector)
        layer.attributes["epsilon"] = ir.AttrFloat32("epsilon", g.attribute(node, "epsilon", 1e-5))
        g.substitute(node.outputs[0], total)


class FuseNormOfSums(FuseNorm):
    """The same where others read what goes into the norm, too."""

    name = "fuse_norm_of_sums"
    _of_sums: ClassVar = True


def _features(layer: ir.Node) -> int:
    return layer.attributes["out_features"].as_int()


def _refusal(node: ir.Node, x: ir.Value, layer: ir.Node) -> str | None:
    if x.is_graph_output():
        return "the sum in front of the norm leaves the graph"
    if len(layer.inputs) > Input.SCALE or layer.attributes["activation"].as_string():
        return "the layer has a norm or an activation already"
    return norm_refusal(node, _features(layer))
