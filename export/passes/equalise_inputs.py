"""The features behind a LayerNormalization get factors that suit the rounding of the 8-bit layers that read it.

Rules: [fold] where only such layers read the norm, its scale and bias are divided by the factors and the columns of the
weights multiplied: the file is as fast as before; [beside] where others read it too, as the sum behind a block of BERT,
the layers get the norm's result times the inverse, one Mul more, and only where that is worth it. Factors are powers of
two, so that floats compute the same as before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.equalise import Factors, best_factors
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._linear import Linear, linear_after
from platon_compress.export.passes._norms import norm_refusal
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import Input
from platon_compress.export.value_types import noted_int8

__all__ = ["EqualiseInputs", "Equalised", "keeps_scale"]

_NOTE = "platon_compress.equalised"
# Least quotient of the errors without and with factors. A Mul of 128 x 768 numbers takes about a hundredth of a block.
_LEAST_FOLDED = 1.05
_LEAST_BESIDE = 2.0


@dataclass(frozen=True, kw_only=True)
class Equalised:
    """norm: name of the node. folded: whether its own scale took the factors. Errors: see `Factors`."""

    norm: str
    folded: bool
    before: float
    after: float


@dataclass(frozen=True)
class _Match:
    layers: tuple[Linear, ...]
    factors: Factors
    folded: bool


class EqualiseInputs(Rule):
    """inputs: by the name of a weight's parameter, rows of what its layer reads, float32 [n, in]."""

    name = "equalise_inputs"
    anchors: ClassVar = frozenset({"LayerNormalization"})

    def __init__(self, inputs: Mapping[str, np.ndarray]) -> None:
        self._inputs = inputs
        self.done: list[Equalised] = []

    def check(self, node: ir.Node) -> _Match | Refusal | None:
        """The 8-bit layers that read the norm must have weights and inputs of their own."""
        uses = [use for use in node.outputs[0].uses() if use[0].op_type != "Shape"]
        layers = [
            linear for user, place in uses if (linear := linear_after(user, place)) and self._known(linear)
        ]
        if not layers:
            return None
        x = self._inputs[_parameter(layers[0])]
        if reason := norm_refusal(node, x.shape[1]):
            return Refusal(reason)
        weight = np.concatenate([layer.matrix() for layer in layers])
        if not (np.isfinite(x).all() and np.isfinite(weight).all()):
            return None
        factors = best_factors(x, weight)
        folded = len(layers) == len(uses) and not node.outputs[0].is_graph_output()
        if factors.before < (_LEAST_FOLDED if folded else _LEAST_BESIDE) * factors.after:
            return Refusal(
                f"factors change the error of its layers from {factors.before:.4f} to {factors.after:.4f}"
            )
        return _Match(tuple(layers), factors, folded)

    def rewrite(self, node: ir.Node, match: _Match) -> None:
        """Weights take the factors, the norm or a Mul behind it their inverse."""
        if not isinstance(node.graph, ir.Graph):
            raise TypeError("inputs can only be equalised in the main graph")
        scale = match.factors.scale
        for layer in match.layers:
            layer.scale_inputs(scale)
        (_fold if match.folded else _multiply)(node, node.graph, match)
        errors = {"before": match.factors.before, "after": match.factors.after}
        self.done.append(Equalised(norm=str(node.name), folded=match.folded, **errors))

    def _known(self, linear: Linear) -> bool:
        return (
            linear.sparse
            and not linear.shared
            and noted_int8(linear.product)
            and _parameter(linear) in self._inputs
        )


def _parameter(linear: Linear) -> str:
    """Name of the weight, whose arrays are called after it (see `swap_sparse`)."""
    values = linear.product.inputs[Input.VALUES]
    return "" if values is None else str(values.name).removesuffix(".values")


def keeps_scale(norm: ir.Node) -> bool:
    """Whether the norm's scale suits the rounding behind it, so that no layer may take it."""
    return bool(norm.meta.get(_NOTE))


def _fold(node: ir.Node, graph: ir.Graph, match: _Match) -> None:
    for place, value in enumerate(node.inputs[1:], start=1):
        array = g.constant(value)
        if value is not None and array is not None:
            even = g.add_constant(graph, f"{value.name}.even", array / match.factors.scale)
            node.replace_input_with(place, even)
    node.meta[_NOTE] = True


def _multiply(node: ir.Node, graph: ir.Graph, match: _Match) -> None:
    products = {layer.product for layer in match.layers}
    first = next(each for each in graph if each in products)
    inverse = g.add_constant(graph, f"{node.outputs[0].name}.even", 1 / match.factors.scale)
    even = g.insert_before(first, "Mul", [node.outputs[0], inverse])
    even.shape, even.type = node.outputs[0].shape, node.outputs[0].type
    for product in products:
        product.replace_input_with(0, even)
