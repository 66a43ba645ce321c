"""Which weights become 8-bit numbers: a note on the values of a weight, kept while passes work on the graph.

The weights of one node have one encoding, so passes join only layers whose notes agree.
"""

from collections.abc import Collection, Mapping
from typing import Any

import onnx_ir as ir

from platon_compress.export.config import ExportConfig
from platon_compress.export.operators import OPERATORS
from platon_compress.export.sparse_linear import Input

__all__ = ["becomes_int8", "carry_note", "note_int8", "noted_int8", "planned_int8"]

_NOTE = "platon_compress.int8"


def planned_int8(model: Any, csr: Mapping[str, Any], config: ExportConfig) -> Collection[str]:
    """Names of the weights of a converted model that become 8-bit numbers."""
    if config.values is None:
        return getattr(model, "int8", frozenset()) & csr.keys()
    return csr.keys() if config.values == "int8" else ()


def note_int8(values: ir.Value) -> None:
    """Say that the weight with these values becomes 8-bit numbers."""
    values.meta[_NOTE] = True


def carry_note(old: ir.Value, new: ir.Value) -> None:
    """`new` takes the place of `old`, note included."""
    if old.meta.get(_NOTE):
        note_int8(new)


def noted_int8(layer: ir.Node) -> bool:
    """Whether the weight of a layer in its working form becomes 8-bit numbers."""
    return _noted(layer.inputs[Input.VALUES])


def becomes_int8(node: ir.Node) -> bool:
    """Whether all weights of a finished operator become 8-bit numbers."""
    operator = OPERATORS[node.op_type]
    named = dict(zip(operator.inputs, node.inputs, strict=True))
    stored = [named[weight.arrays(operator.encoding)[0]] for weight in operator.weights]
    return bool(stored) and all(map(_noted, stored))


def _noted(values: ir.Value | None) -> bool:
    return values is not None and bool(values.meta.get(_NOTE))
