"""SparseLinear + activation -> SparseLinear with the attribute `activation`."""

from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import is_sparse_linear

__all__ = ["FoldActivation"]

_ACTIVATION_OF = {"Gelu": "gelu", "FastGelu": "gelu_tanh", "Relu": "relu"}


class FoldActivation(Rule):
    """Move a Gelu, FastGelu or Relu that alone reads the operator's result into the operator."""

    name = "fold_activation"
    anchors: ClassVar = frozenset({"SparseLinear"})

    def check(self, node: ir.Node) -> str | Refusal | None:
        """Return the activation's name, when its node is the only reader."""
        if not is_sparse_linear(node):
            return None
        readers = {user.op_type for user, _ in node.outputs[0].uses()} & _ACTIVATION_OF.keys()
        if not readers:
            return None
        reader = g.single_use(node.outputs[0])
        if reader is None:
            return Refusal("the value before the activation is read elsewhere too")
        if node.attributes["activation"].as_string():
            return Refusal("the layer has an activation already")
        if len(reader.inputs) > 1 or g.attribute(reader, "approximate", "none") != "none":
            return Refusal(f"the {reader.op_type} carries a bias or an approximation of its own")
        return _ACTIVATION_OF[reader.op_type]

    def rewrite(self, node: ir.Node, match: str) -> None:
        """Set the attribute and drop the activation's node."""
        reader = g.single_use(node.outputs[0])
        if reader is None:
            raise TypeError("the activation of a sparse layer must be one node")
        node.attributes["activation"] = ir.AttrString("activation", match)
        g.substitute(reader.outputs[0], node.outputs[0])
