"""`com.microsoft::Gelu` and `FastGelu` that no layer took -> standard operators, which any runtime knows.

Spelled as PyTorch's exporter spells them: ONNX Runtime fuses that, with the bias in front.
"""

import math
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Rule

__all__ = ["SpellGelu"]


class SpellGelu(Rule):
    """The inverse of `fuse_gelu`, in one spelling."""

    name = "spell_gelu"
    anchors: ClassVar = frozenset({"Gelu", "FastGelu"})

    def check(self, node: ir.Node) -> ir.Value | None:
        """The input."""
        return node.inputs[0] if node.domain == g.MICROSOFT and len(node.inputs) == 1 else None

    def rewrite(self, node: ir.Node, match: ir.Value) -> None:
        """x / 2 (1 + erf(x / sqrt 2)), or x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))."""
        if node.op_type == "Gelu":
            erf = _steps(node, match, ("Div", math.sqrt(2)), ("Erf", None), ("Add", 1.0))
            result = _steps(node, g.insert_before(node, "Mul", [match, erf]), ("Mul", 0.5))
        else:
            bend = _steps(node, match, ("Pow", 3.0), ("Mul", 0.044715))
            inner = g.insert_before(node, "Add", [match, bend])
            tanh = _steps(node, inner, ("Mul", math.sqrt(2 / math.pi)), ("Tanh", None), ("Add", 1.0))
            result = g.insert_before(node, "Mul", [_steps(node, match, ("Mul", 0.5)), tanh])
        g.substitute(node.outputs[0], result)


def _steps(node: ir.Node, value: ir.Value, *steps: tuple[str, float | None]) -> ir.Value:
    """Operators one behind the other, each with a number as its second input or without."""
    graph = node.graph
    if not isinstance(graph, ir.Graph):
        raise TypeError("an activation can only be spelled out in the main graph")
    for op_type, number in steps:
        inputs = [value]
        if number is not None:
            inputs.append(g.add_constant(graph, f"gelu_{number:g}", np.array(number, np.float32)))
        value = g.insert_before(node, op_type, inputs)
    return value
