"""A working form of ours turns into an operator of the table."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from platon_compress.export.operators import Operator
from platon_compress.export.passes import _graph as g

__all__ = ["become"]


def become(
    node: ir.Node, operator: Operator, inputs: Sequence[ir.Value | None], attributes: Mapping[str, Any]
) -> None:
    """Change `node` in place, its outputs stay. inputs: in the operator's order, None for a bias of zeros.

    attributes: at least those of the operator, by their names in the file.
    """
    if len(inputs) != len(operator.inputs):
        raise TypeError(f"{operator.name} has {len(operator.inputs)} inputs, got {len(inputs)}")
    named = dict(zip(operator.inputs, inputs, strict=True))
    filled = [
        _zeros(node, _rows(operator, name, attributes)) if value is None else value
        for name, value in named.items()
    ]
    node.op_type = operator.name
    node.resize_inputs(len(filled))
    for place, value in enumerate(filled):
        node.replace_input_with(place, value)
    node.attributes.clear()
    for name, kind in operator.attributes:
        make = ir.AttrInt64 if kind == "int" else ir.AttrFloat32
        node.attributes[name] = make(name, attributes[name])


def _rows(operator: Operator, name: str, attributes: Mapping[str, Any]) -> int:
    """Number of rows of the weight whose bias is called `name`."""
    for weight in operator.weights:
        factor, attribute = weight.rows
        if name == f"{weight.prefix}bias":
            return factor * int(attributes[attribute])
    raise TypeError(f"a {operator.name} needs its {name}")


def _zeros(node: ir.Node, features: int) -> ir.Value:
    if not isinstance(node.graph, ir.Graph):
        raise TypeError("nodes of ours stand in the main graph")
    return g.add_constant(node.graph, f"zeros_{features}", np.zeros(features, np.float32))
