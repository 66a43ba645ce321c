"""Large lookup tables (word embeddings) -> rows of 8-bit numbers with a scale each, in standard operators.

Rules: [symmetric] a row's scale is its largest size divided by 127: no number moves by more than half of it, 0.4 % of the
row's largest. [large] Tables of more than LEAST_ROWS rows; smaller ones are not worth it. [looked-up] A table that is
read as a whole too, as by a head that shares its weight, stays.
"""

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.passes._tables import read_as_a_whole, table_of

__all__ = ["LEAST_ROWS", "QuantizeTables", "quantize_table"]

LEAST_ROWS = 1000
_LARGEST = 127


def quantize_table(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int8 [rows, columns] within 127 and float32 scales [rows, 1] of a finite float32 table."""
    scales = np.abs(table).max(axis=1, keepdims=True, initial=0) / np.float32(_LARGEST)
    scales[scales == 0] = 1  # no values, or too small to have a scale
    rounded = np.clip(np.rint(table / scales), -_LARGEST, _LARGEST)
    return rounded.astype(np.int8), scales.astype(np.float32)


class QuantizeTables(Rule):
    """Replace Gather(table, ids) by Mul(Cast(Gather(rounded, ids)), Gather(scales, ids)); `tables` are their names."""

    name = "quantize_tables"
    anchors: ClassVar = frozenset({"Gather"})

    def __init__(self) -> None:
        self.tables: dict[str, None] = {}

    def check(self, node: ir.Node) -> np.ndarray | Refusal | None:
        """The table."""
        table = table_of(node)
        stored = None if table is None else table.const_value
        if table is None or stored is None or stored.dtype != ir.DataType.FLOAT:
            return None
        if (g.static_dim(table, 0) or 0) <= LEAST_ROWS:
            return None
        if refusal := read_as_a_whole(table, node.graph):
            return refusal
        array = stored.numpy()
        if not np.isfinite(array).all():
            return Refusal(f"{table.name} holds NaN or infinity, which 8-bit numbers cannot say")
        return array

    def rewrite(self, node: ir.Node, match: np.ndarray) -> None:
        """Lookups in one table share its rows."""
        table, ids, graph = node.inputs[0], node.inputs[1], node.graph
        if table is None or not isinstance(graph, ir.Graph):
            raise TypeError("only tables of the main graph can be rounded")
        parts = zip(("quantized", "scale"), quantize_table(match), strict=True)
        constants = [g.add_constant(graph, f"{table.name}_{part}", array) for part, array in parts]
        rows, scales = (g.insert_before(node, "Gather", [constant, ids]) for constant in constants)
        numbers = g.insert_before(node, "Cast", [rows], {"to": ir.DataType.FLOAT})
        g.substitute(node.outputs[0], g.insert_before(node, "Mul", [numbers, scales]))
        self.tables[str(table.name)] = None
