"""Constant tables of which nodes look rows up (word embeddings)."""

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal

__all__ = ["read_as_a_whole", "table_of"]


def table_of(node: ir.Node) -> ir.Value | None:
    """The constant [rows, columns] of which `node` looks rows up."""
    table = node.inputs[0]
    constant = table is not None and table.const_value is not None
    return table if constant and g.rank(table) == 2 and _looks_up(node, 0) else None


def read_as_a_whole(table: ir.Value, graph: ir.Graph | ir.Function | None) -> Refusal | None:
    """Why nothing else can take the table's place; None where looking rows up in `graph` is all that is done with it."""
    uses = [_looks_up(reader, place) and reader.graph is graph for reader, place in table.uses()]
    if table.is_graph_input() or table.is_graph_output() or not all(uses):
        return Refusal(f"{table.name} is read as a whole too, or may be replaced by the caller")
    return None


def _looks_up(reader: ir.Node, place: int) -> bool:
    return reader.op_type == "Gather" and place == 0 and g.attribute(reader, "axis", 0) == 0
