"""LayerNormalization over the last axis with constant weights, as our operators compute it."""

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g

__all__ = ["norm_refusal", "norm_vectors"]


def norm_refusal(node: ir.Node, features: int) -> str | None:
    """Why our operators do not compute this LayerNormalization of [..., features]; None when they do."""
    if any(output.uses() for output in node.outputs[1:]):
        return "the norm's statistics are read"
    if g.attribute(node, "axis", -1) not in (-1, (g.rank(node.inputs[0]) or 0) - 1):
        return "it normalises over more than the last axis"
    if node.inputs[1] is None or not all(_is_vector(value, features) for value in node.inputs[1:]):
        return "its scale or bias is not one constant per feature"
    return None


def norm_vectors(node: ir.Node, features: int) -> tuple[ir.Value | None, ir.Value]:
    """Scale and shift of a norm that is not refused; a missing shift is zeros."""
    shift = node.inputs[2] if len(node.inputs) > 2 else None
    if shift is not None:
        return node.inputs[1], shift
    if not isinstance(node.graph, ir.Graph):
        raise TypeError("a norm can only be folded in the main graph")
    zeros = g.add_constant(node.graph, f"zeros_{features}", np.zeros(features, np.float32))
    return node.inputs[1], zeros


def _is_vector(value: ir.Value | None, features: int) -> bool:
    array = g.constant(value)
    return value is None or (array is not None and array.dtype == np.float32 and array.shape == (features,))
