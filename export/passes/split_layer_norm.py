"""LayerNormalization -> InstanceNormalization (each token is a channel), Mul, Add.

ONNX Runtime sums a LayerNormalization row one number after the other; its InstanceNormalization is vectorised.
`benchmarks/node_profile.py` shows what either costs in a model.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule

__all__ = ["SplitLayerNorm"]


@dataclass(frozen=True)
class _Norm:
    """tokens: the number of tokens, the symbol it has in the graph, or None when it has no name."""

    x: ir.Value
    scale: ir.Value
    bias: ir.Value | None
    epsilon: float
    tokens: int | str | None


class SplitLayerNorm(Rule):
    """Normalise [batch, tokens, features] over its last axis with a faster operator."""

    name = "split_layer_norm"
    anchors: ClassVar = frozenset({"LayerNormalization"})

    def __init__(self) -> None:
        self._vectors: dict[int | str, tuple[ir.Value, ir.Value]] = {}

    def check(self, node: ir.Node) -> _Norm | Refusal:
        """Only the plain form over the last of three axes, with constant weights."""
        x, scale = node.inputs[0], node.inputs[1]
        bias = node.inputs[2] if len(node.inputs) > 2 else None
        bias = None if bias is not None and _is_all(bias, 0) else bias
        if x is None or scale is None or g.rank(x) != 3:
            return Refusal("the input is not known to be [batch, tokens, features]")
        if g.attribute(node, "axis", -1) not in (-1, 2) or any(output.uses() for output in node.outputs[1:]):
            return Refusal("it normalises over more than the last axis or its statistics are read")
        if g.constant(scale) is None or (bias is not None and g.constant(bias) is None):
            return Refusal("its scale or bias is computed at run time")
        size = x.shape[1] if x.shape is not None else None
        tokens = size if isinstance(size, int) else getattr(size, "value", None)
        return _Norm(x, scale, bias, g.attribute(node, "epsilon", 1e-5), tokens)

    def rewrite(self, node: ir.Node, match: _Norm) -> None:
        """Up to three nodes in place of one; the vectors of ones and zeros are shared."""
        ones, zeros = self._unit_vectors(node, match)
        attributes = {"epsilon": match.epsilon}
        value = g.insert_before(node, "InstanceNormalization", [match.x, ones, zeros], attributes)
        if not _is_all(match.scale, 1):
            value = g.insert_before(node, "Mul", [value, match.scale])
        if match.bias is not None:
            value = g.insert_before(node, "Add", [value, match.bias])
        g.substitute(node.outputs[0], value)

    def _unit_vectors(self, node: ir.Node, match: _Norm) -> tuple[ir.Value, ir.Value]:
        """Ones and zeros [tokens], the neutral scale and bias of each channel."""
        if match.tokens in self._vectors and match.tokens is not None:
            return self._vectors[match.tokens]
        vectors = _made(node, match)
        if match.tokens is not None:
            self._vectors[match.tokens] = vectors
        return vectors


def _is_all(value: ir.Value, number: float) -> bool:
    """Whether a constant does nothing: the layers behind the norm have taken it, or the model has none."""
    array = g.constant(value)
    return array is not None and bool(np.all(array == number))


def _made(node: ir.Node, match: _Norm) -> tuple[ir.Value, ir.Value]:
    if isinstance(match.tokens, int) and isinstance(node.graph, ir.Graph):
        return (
            g.add_constant(node.graph, f"ones_{match.tokens}", np.ones(match.tokens, np.float32)),
            g.add_constant(node.graph, f"zeros_{match.tokens}", np.zeros(match.tokens, np.float32)),
        )
    length = g.insert_before(node, "Shape", [match.x], {"start": 1, "end": 2})
    ones, zeros = (
        g.insert_before(node, "ConstantOfShape", [length], {"value": ir.tensor(np.array([n], np.float32))})
        for n in (1, 0)
    )
    return ones, zeros
