"""SparseLinear + constant bias -> SparseLinear with bias."""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import is_sparse_linear

__all__ = ["FoldBias"]


class FoldBias(Rule):
    """Move an Add of one constant per output into the operator's fifth input."""

    name = "fold_bias"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> ir.Value | Refusal | None:
        """Return the bias, when the only reader adds a constant [out_features]."""
        add = g.single_use(node.outputs[0])
        if not is_sparse_linear(node) or add is None or add.op_type != "Add":
            return None
        bias = g.other_input(add, node.outputs[0])
        if bias is None or g.constant(bias) is None:
            return None
        if bias.shape != ir.Shape([node.attributes["out_features"].as_int()]):
            return Refusal(f"the constant {bias.name} has shape {bias.shape}, not one value per output")
        if len(node.inputs) > 4 or node.attributes["activation"].as_string():
            return Refusal(f"{bias.name} is added after the layer's own bias or activation")
        return bias

    def rewrite(self, node: ir.Node, match: ir.Value) -> None:
        """Append the bias and drop the Add."""
        result = node.outputs[0]
        add = g.single_use(result)
        if add is None:
            raise TypeError("the bias of a sparse layer must be added by one node")
        node.resize_inputs(5)
        node.replace_input_with(4, match)
        g.substitute(add.outputs[0], result)
