"""Small questions to an ONNX graph and small changes to it, shared by the passes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

__all__ = [
    "MICROSOFT",
    "add_constant",
    "attribute",
    "constant",
    "erase_if_dead",
    "insert_before",
    "module_path",
    "other_input",
    "produced_by",
    "rank",
    "same_shape",
    "scalar",
    "single_use",
    "static_dim",
    "substitute",
]

MICROSOFT = "com.microsoft"


def constant(value: ir.Value | None) -> np.ndarray | None:
    """The array behind an initializer, or None when the value is computed or fed at run time."""
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    return value.const_value.numpy()


def scalar(value: ir.Value | None) -> float | None:
    """The number behind a constant with one element, else None. Large tensors are not read."""
    if value is None or value.const_value is None or value.const_value.size != 1:
        return None
    array = constant(value)
    return None if array is None else float(array.reshape(()).item())


def produced_by(value: ir.Value | None, *op_types: str) -> ir.Node | None:
    """The node that computes `value`, if its type is one of `op_types`."""
    node = None if value is None else value.producer()
    return node if node is not None and node.op_type in op_types else None


def single_use(value: ir.Value) -> ir.Node | None:
    """The only node that reads `value`; None when there are more, or when it leaves the graph."""
    uses = tuple(value.uses())
    return uses[0][0] if len(uses) == 1 and not value.is_graph_output() else None


def other_input(node: ir.Node, value: ir.Value) -> ir.Value | None:
    """Of a node with two inputs, the one that is not `value`; None when both are."""
    others = [item for item in node.inputs if item is not value]
    return others[0] if len(others) == 1 else None


def attribute(node: ir.Node, name: str, default: Any) -> Any:
    """An attribute's Python value, or `default` when the node does not set it."""
    found = node.attributes.get(name)
    return default if found is None else found.value


def rank(value: ir.Value | None) -> int | None:
    """Number of dimensions, or None when shape inference could not tell."""
    return None if value is None or value.shape is None else len(value.shape)


def static_dim(value: ir.Value | None, axis: int) -> int | None:
    """Size along `axis` when it is a known number, else None."""
    if value is None or value.shape is None or not -len(value.shape) <= axis < len(value.shape):
        return None
    size = value.shape[axis]
    return size if isinstance(size, int) else None


def same_shape(a: ir.Value, b: ir.Value) -> bool:
    """Equal sizes where they are known; two unknown sizes pass, a known and an unknown one may broadcast."""
    if a.shape is None or b.shape is None or len(a.shape) != len(b.shape):
        return False
    pairs = zip(a.shape, b.shape, strict=True)
    return all(x == y or not (isinstance(x, int) or isinstance(y, int)) for x, y in pairs)


def module_path(node: ir.Node) -> str:
    """Dotted path of the torch module that a node came from, "" when unknown.

    The tracing exporter puts it into the node's name (`/bert/encoder/layer.0/.../MatMul`), the dynamo
    exporter into the metadata (`['', 'bert', ..., 'bert.encoder.layer.0....query', 'linear']`).
    """
    scopes = node.metadata_props.get("pkg.torch.onnx.name_scopes")
    if scopes:
        parts = [part.strip(" '\"") for part in scopes.strip("[]").split(",")]
        return parts[-2] if len(parts) > 1 else ""
    name = node.name or ""
    return ".".join(name.strip("/").split("/")[:-1]) if name.startswith("/") else ""


def add_constant(graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
    """Register an initializer, or return the one that has this name and these numbers already."""
    base, number = name, 0
    while (existing := graph.initializers.get(name)) is not None:
        held = constant(existing)
        if held is not None and held.dtype == array.dtype and np.array_equal(held, array):
            return existing
        number += 1
        name = f"{base}_{number}"
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.register_initializer(value)
    return value


def insert_before(
    anchor: ir.Node,
    op_type: str,
    inputs: Sequence[ir.Value | None],
    attributes: dict[str, Any] | None = None,
    *,
    domain: str = "",
    name: str | None = None,
    num_outputs: int = 1,
) -> ir.Value:
    """Create a node in front of `anchor`, named after the module that `anchor` came from; its first output."""
    name = name or "/" + "/".join([*module_path(anchor).split("."), op_type]).lstrip("/")
    node = ir.node(op_type, inputs, attributes or {}, domain=domain, name=name, num_outputs=num_outputs)
    node.metadata_props.update(anchor.metadata_props)
    graph = anchor.graph
    if not isinstance(graph, ir.Graph):
        raise TypeError("the anchor of a new node must be part of a graph")
    graph.insert_before(anchor, node)
    if domain:
        graph.opset_imports.setdefault(domain, 1)
    return node.outputs[0]


def substitute(old: ir.Value, new: ir.Value) -> None:
    """Let every reader of `old`, and the graph's output list, take `new`; keep name, type and shape."""
    new.shape = old.shape if new.shape is None else new.shape
    new.type = old.type if new.type is None else new.type
    name = old.name
    producer = old.producer()
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    if producer is not None:
        old.name = None
        new.name = name
        erase_if_dead(producer)


def erase_if_dead(node: ir.Node) -> None:
    """Remove a node that nobody reads, and then whatever only it read."""
    if node.graph is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
        return
    producers = {value.producer() for value in node.inputs if value is not None}
    node.graph.remove(node, safe=True)
    for producer in producers:
        if producer is not None:
            erase_if_dead(producer)
