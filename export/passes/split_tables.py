"""Large lookup tables (word embeddings) -> pieces of columns, looked up one by one and joined again.

ONNX Runtime holds an initializer twice while it copies it out of the parsed file, so the largest one sets the peak of
loading: a table of 94 MB in a file of 150 MB. In pieces, no more than one piece is held twice.
The results are the same to the bit; measured by `benchmarks/memory.py`.
"""

from typing import ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule

__all__ = ["PIECE_BYTES", "SplitTables"]

# Less than what packing a BERT-base's sparse weights takes after loading: smaller pieces lower no peak.
PIECE_BYTES = 32 * 2**20


class SplitTables(Rule):
    """Replace Gather(table, ids) over rows of a table above piece_bytes by Concat(Gather(piece, ids), ...)."""

    name = "split_tables"
    anchors: ClassVar = frozenset({"Gather"})

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes

    def check(self, node: ir.Node) -> int | Refusal | None:
        """The number of pieces."""
        table = node.inputs[0]
        if table is None or table.const_value is None or g.rank(table) != 2 or not g.looks_up(node, 0):
            return None
        columns = g.static_dim(table, 1)
        pieces = -(-table.const_value.nbytes // self._piece_bytes)
        if pieces < 2 or columns is None:
            return None
        uses = [g.looks_up(reader, place) and reader.graph is node.graph for reader, place in table.uses()]
        if table.is_graph_input() or table.is_graph_output() or not all(uses):
            return Refusal(f"{table.name} is read as a whole too, or may be replaced by the caller")
        return min(pieces, columns)

    def rewrite(self, node: ir.Node, match: int) -> None:
        """Lookups in one table share its pieces."""
        table, ids, graph = node.inputs[0], node.inputs[1], node.graph
        array = g.constant(table)
        if table is None or array is None or not isinstance(graph, ir.Graph):
            raise TypeError("only constant tables of the main graph can be split")
        parts = np.array_split(array, match, axis=1)
        names = [f"{table.name}.{number}" for number in range(match)]
        pieces = [
            g.add_constant(graph, name, np.ascontiguousarray(part))
            for name, part in zip(names, parts, strict=True)
        ]
        found = [g.insert_before(node, "Gather", [piece, ids]) for piece in pieces]
        joined = g.insert_before(node, "Concat", found, {"axis": -1})
        g.substitute(node.outputs[0], joined)
