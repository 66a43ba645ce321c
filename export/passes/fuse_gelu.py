"""The many spellings of GELU become one node: `com.microsoft::Gelu` (erf) or `FastGelu` (tanh).

ONNX Runtime fuses some of these spellings itself, not all (the products may be grouped in any order).
Rules: [erf] x * 0.5 * (1 + erf(x / sqrt 2)); [tanh] x * 0.5 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule

__all__ = ["FuseGelu"]

_REL_TOL = 1e-4  # exporters write the constants as float32


@dataclass(frozen=True)
class _Gelu:
    op_type: str
    x: ir.Value
    result: ir.Value


class FuseGelu(Rule):
    """Erf or Tanh inside a GELU expansion -> one Gelu or FastGelu node."""

    name = "fuse_gelu"
    anchors: ClassVar = frozenset({"Erf", "Tanh", "Gelu"})

    def check(self, node: ir.Node) -> _Gelu | Refusal | None:
        """Find x below the anchor and the end of the products above it."""
        if node.op_type == "Gelu":
            return _standard_gelu(node)
        x = _erf_argument(node) if node.op_type == "Erf" else _tanh_argument(node)
        plus_one = g.single_use(node.outputs[0])
        if x is None or plus_one is None or plus_one.op_type != "Add":
            return None
        if not _close(g.scalar(g.other_input(plus_one, node.outputs[0])), 1.0):
            return None
        result = _product_with(plus_one.outputs[0], x)
        if result is None:
            return Refusal("the sum 1 + erf or 1 + tanh is not multiplied by half of the same input")
        return _Gelu("Gelu" if node.op_type == "Erf" else "FastGelu", x, result)

    def rewrite(self, node: ir.Node, match: _Gelu) -> None:
        """Put the fused node where the expansion ends."""
        end = match.result.producer()
        if end is None:
            raise TypeError("the end of a GELU expansion must be a node")
        fused = g.insert_before(end, match.op_type, [match.x], domain=g.MICROSOFT)
        g.substitute(match.result, fused)


def _close(value: float | None, target: float) -> bool:
    return value is not None and math.isclose(value, target, rel_tol=_REL_TOL)


def _standard_gelu(node: ir.Node) -> _Gelu | None:
    """The standard operator of opset 20 has fewer fusions in ONNX Runtime than its own Gelu."""
    if node.domain:
        return None
    tanh = g.attribute(node, "approximate", "none") == "tanh"
    x = node.inputs[0]
    return None if x is None else _Gelu("FastGelu" if tanh else "Gelu", x, node.outputs[0])


def _scaled(value: ir.Value | None, factor: float) -> ir.Value | None:
    """x, when `value` is computed as x * factor or x / (1 / factor)."""
    node = g.produced_by(value, "Mul", "Div")
    if node is None:
        return None
    if node.op_type == "Div":
        return node.inputs[0] if _close(g.scalar(node.inputs[1]), 1 / factor) else None
    for x in node.inputs:
        other = None if x is None else g.other_input(node, x)
        if _close(g.scalar(other), factor):
            return x
    return None


def _erf_argument(node: ir.Node) -> ir.Value | None:
    return _scaled(node.inputs[0], 1 / math.sqrt(2))


def _tanh_argument(node: ir.Node) -> ir.Value | None:
    """x, when the node is tanh(sqrt(2/pi) * (x + 0.044715 x^3))."""
    total = g.produced_by(_scaled(node.inputs[0], math.sqrt(2 / math.pi)), "Add")
    for x in () if total is None else total.inputs:
        other = None if x is None or total is None else g.other_input(total, x)
        if x is not None and _is_cube(_scaled(other, 0.044715), x):
            return x
    return None


def _is_cube(value: ir.Value | None, x: ir.Value) -> bool:
    """Whether `value` is x^3, as a power or as x * (x * x)."""
    node = g.produced_by(value, "Pow", "Mul")
    if node is None:
        return False
    if node.op_type == "Pow":
        return node.inputs[0] is x and _close(g.scalar(node.inputs[1]), 3.0)
    square = g.produced_by(g.other_input(node, x), "Mul")
    return square is not None and all(item is x for item in square.inputs)


def _product_with(value: ir.Value, x: ir.Value) -> ir.Value | None:
    """Climb the products that read `value`; return the one at which they amount to 0.5 * x * value."""
    factor, seen_x = 1.0, False
    while (node := g.single_use(value)) is not None and node.op_type in ("Mul", "Div"):
        other = g.other_input(node, value)
        half_x = _scaled(other, 0.5)
        number = g.scalar(other)
        if other is x and not seen_x and node.op_type == "Mul":
            seen_x = True
        elif half_x is x and not seen_x and node.op_type == "Mul":
            seen_x, factor = True, factor * 0.5
        elif number and (node.op_type == "Mul" or node.inputs[0] is value):
            factor = factor * number if node.op_type == "Mul" else factor / number
        else:
            return None
        value = node.outputs[0]
        if seen_x and _close(factor, 0.5):
            return value
    return None
