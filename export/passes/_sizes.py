"""Reading shape tensors: which entries are numbers, which are sizes of a named axis, which are unknown."""

import onnx_ir as ir

from platon_compress.export.passes import _graph as g

__all__ = ["Size", "sizes_in"]

Size = int | str | None  # a number, the symbol of a dynamic axis, or unknown


def sizes_in(shape: ir.Value | None) -> tuple[Size, ...] | None:
    """The entries of a one-dimensional shape tensor, as far as they can be named; None when it is opaque."""
    array = g.constant(shape)
    if array is not None:
        return tuple(int(size) for size in array.reshape(-1))
    node = g.produced_by(shape, "Concat", "Unsqueeze", "Slice", "Shape", "Gather")
    if node is None:
        return None
    if node.op_type == "Concat":
        parts = [sizes_in(value) for value in node.inputs]
        return None if None in parts else tuple(size for part in parts if part is not None for size in part)
    if node.op_type == "Unsqueeze":
        return (_gathered(node.inputs[0]),) if g.rank(node.inputs[0]) == 0 else None
    if node.op_type == "Gather":
        return (_gathered(shape),)
    return _shape_of(node) if node.op_type == "Shape" else _sliced(node)


def _gathered(value: ir.Value | None) -> Size:
    """The size that a Gather takes out of a Shape."""
    number = g.scalar(value)
    if number is not None:
        return int(number)
    node = g.produced_by(value, "Gather")
    index = None if node is None else g.scalar(node.inputs[1])
    source = None if node is None else g.produced_by(node.inputs[0], "Shape")
    sizes = None if source is None else _shape_of(source)
    if sizes is None or index is None or not -len(sizes) <= index < len(sizes):
        return None
    return sizes[int(index)]


def _shape_of(node: ir.Node) -> tuple[Size, ...] | None:
    """The sizes that a Shape node returns."""
    source = node.inputs[0]
    if source is None or source.shape is None:
        return None
    sizes = [size if isinstance(size, int) else size.value for size in source.shape]
    return tuple(sizes[g.attribute(node, "start", 0) : g.attribute(node, "end", len(sizes))])


def _sliced(node: ir.Node) -> tuple[Size, ...] | None:
    """The sizes that a Slice takes out of a shape tensor."""
    sizes = sizes_in(node.inputs[0])
    bounds = [g.scalar(value) for value in node.inputs[1:3]]
    steps = g.scalar(node.inputs[4]) if len(node.inputs) > 4 else 1
    if sizes is None or None in bounds or steps != 1:
        return None
    start, end = (int(bound) for bound in bounds if bound is not None)
    return sizes[start : min(end, len(sizes))]
