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
from platon_compress.export.passes._tables import read_as_a_whole, table_of

__all__ = ["PIECE_BYTES", "SplitTables"]

# Less than what packing a BERT-base's sparse weights takes after loading: smaller pieces lower no peak.
PIECE_BYTES = 32 * 2**20


class SplitTables(Rule):
    """Replace Gather(table, ids) over rows of a table above piece_bytes by Concat(Gather(piece, ids), ...).

    No piece is larger, so that what is split stays as it is when the rule is applied again; but for single columns.
    """

    name = "split_tables"
    anchors: ClassVar = frozenset({"Gather"})

    def __init__(self, piece_bytes: int = PIECE_BYTES) -> None:
        self._piece_bytes = piece_bytes

    def check(self, node: ir.Node) -> int | Refusal | None:
        """The number of pieces."""
        table = table_of(node)
        columns = g.static_dim(table, 1)
        if table is None or table.const_value is None or not columns:
            return None
        most = max(1, self._piece_bytes * columns // max(table.const_value.nbytes, 1))  # columns of a piece
        pieces = -(-columns // most)
        if pieces < 2:
            return None
        return read_as_a_whole(table, node.graph) or pieces

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
