"""Q, K and V projections of one attention -> one sparse layer with their rows one below the other.

One node instead of three: the activations are read once, and threads meet once.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.attention_op import AttentionInput, is_attention
from platon_compress.export.operators import DOMAIN
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import OP_TYPE, Input, is_sparse_linear
from platon_compress.export.value_types import note_int8, noted_int8

__all__ = ["StackProjections"]


@dataclass(frozen=True)
class _Csr:
    values: np.ndarray
    columns: np.ndarray
    row_starts: np.ndarray
    bias: np.ndarray | None


class StackProjections(Rule):
    """Three sparse layers on one input that only one `platon::Attention` reads."""

    name = "stack_projections"
    anchors: ClassVar = frozenset({"Heads"})

    def __init__(self) -> None:
        # Blocks that share all of their weights (ALBERT) share the stacked ones; others may share some by value.
        self._stacked: dict[tuple[ir.Value | None, ...], list[ir.Value]] = {}

    def check(self, node: ir.Node) -> list[ir.Node] | Refusal | None:
        """The three layers."""
        if not is_attention(node) or len(node.inputs) <= AttentionInput.V:
            return None
        values = node.inputs[: AttentionInput.V + 1]
        layers = [value.producer() for value in values if value is not None]
        if len(layers) < 3 or not all(layer is not None and is_sparse_linear(layer) for layer in layers):
            return None
        found = [layer for layer in layers if layer is not None]
        reason = _refusal(found)
        return Refusal(reason) if reason else found

    def rewrite(self, node: ir.Node, match: list[ir.Node]) -> None:
        """One layer with new arrays; nobody reads the old ones any more."""
        graph = node.graph
        if not isinstance(graph, ir.Graph):
            raise TypeError("projections can only be stacked in the main graph")
        first = match[0]
        key = tuple(value for layer in match for value in layer.inputs[Input.VALUES :])
        if key not in self._stacked:
            self._stacked[key] = _add(graph, f"stacked_projections_{len(self._stacked)}", match)
        inputs = self._stacked[key]
        attributes = {name: attribute.value for name, attribute in first.attributes.items()}
        attributes["out_features"] = 3 * first.attributes["out_features"].as_int()
        stacked = g.insert_before(first, OP_TYPE, [first.inputs[Input.X], *inputs], attributes, domain=DOMAIN)
        source = node.inputs[AttentionInput.Q]
        if source is not None and source.shape is not None:
            stacked.shape = ir.Shape([*source.shape[:2], attributes["out_features"]])
            stacked.type = source.type
        for place, value in ((AttentionInput.Q, stacked), (AttentionInput.K, None), (AttentionInput.V, None)):
            node.replace_input_with(place, value)
        for layer in match:
            g.erase_if_dead(layer)


def _add(graph: ir.Graph, stem: str, layers: list[ir.Node]) -> list[ir.Value]:
    arrays = _stacked([_read(layer) for layer in layers])
    named = zip(("values", "columns", "row_starts", "bias"), arrays, strict=True)
    added = [g.add_constant(graph, f"{stem}.{part}", array) for part, array in named if array is not None]
    if noted_int8(layers[0]):
        note_int8(added[0])
    return added


def _refusal(layers: list[ir.Node]) -> str | None:
    if len({layer.inputs[Input.X] for layer in layers}) != 1:
        return "queries, keys and values are projected from different activations"
    if len({layer.attributes["out_features"].as_int() for layer in layers}) != 1:
        return "queries, keys and values have different sizes"
    if len({noted_int8(layer) for layer in layers}) != 1:
        return "some of queries, keys and values become 8-bit numbers, some do not"
    if not all(_plain(layer) for layer in layers):
        return "a projection has another reader, an epilogue or a computed bias"
    return None


def _plain(layer: ir.Node) -> bool:
    """Nothing but a product and perhaps a constant bias, for one reader."""
    if layer.attributes["activation"].as_string() or len(layer.outputs) > 1:
        return False
    extra = [value for value in layer.inputs[Input.BIAS + 1 :] if value is not None]
    bias = layer.inputs[Input.BIAS] if len(layer.inputs) > Input.BIAS else None
    constant = bias is None or g.constant(bias) is not None
    return not extra and constant and g.single_use(layer.outputs[0]) is not None


def _read(layer: ir.Node) -> _Csr:
    arrays = [g.constant(value) for value in layer.inputs[Input.VALUES : Input.BIAS + 1]]
    values, columns, row_starts = arrays[:3]
    if values is None or columns is None or row_starts is None:
        raise TypeError("weights of a sparse layer must be constants")
    return _Csr(values, columns, row_starts, arrays[3] if len(arrays) > 3 else None)


def _stacked(parts: list[_Csr]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    offsets = np.cumsum([0, *(part.values.size for part in parts)])
    starts = [
        part.row_starts[:-1].astype(np.int64) + offset for part, offset in zip(parts, offsets, strict=False)
    ]
    row_starts = np.concatenate([*starts, offsets[-1:]]).astype(np.int32)
    rows = parts[0].row_starts.size - 1
    biases = [np.zeros(rows, np.float32) if part.bias is None else part.bias for part in parts]
    bias = np.concatenate(biases) if any(part.bias is not None for part in parts) else None
    return (
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.columns for part in parts]),
        row_starts,
        bias,
    )
