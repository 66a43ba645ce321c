"""Write onto values the batch and token sizes that provably come from their inputs.

Shape inference invents a name for the size of a sum of two differently named sizes and stops at operators that it
does not know. With one name for one size, later passes compute what depends on it once instead of in each layer.

Rules, for values [batch, tokens, features]: [alone] operators that treat each token alone keep the first two sizes;
[sum] so do sums with a value per feature, or with a value of the same names; [attention] the result has the sizes
of the queries.
"""

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.sparse_linear import OP_TYPE

__all__ = ["pass_sizes"]

_ALONE = frozenset({"Gelu", "FastGelu", "Relu", "Tanh", "Erf", "Sigmoid", "Identity", "LayerNormalization"})
_BINARY = frozenset({"Add", "Sub", "Mul", "Div"})


def pass_sizes(graph: ir.Graph) -> int:
    """Rename sizes in place, in the graph's order; returns the number of values that changed."""
    changed = 0
    for node in graph:
        source = _source(node)
        if source is None or source.shape is None or len(source.shape) != 3:
            continue
        result = node.outputs[0]
        if result.is_graph_output():  # its axes have the names that the user knows
            continue
        sizes = ir.Shape([*source.shape[:2], _features(node)])
        if result.shape != sizes:
            result.shape, result.type = sizes, result.type or source.type
            changed += 1
    return changed


def _source(node: ir.Node) -> ir.Value | None:
    """The input whose batch and token sizes the result has."""
    if node.op_type in _BINARY:
        return _of_sum(node)
    keeps = node.op_type in _ALONE or node.op_type == OP_TYPE
    keeps |= node.op_type == "MatMul" and g.rank(node.inputs[1]) == 2
    keeps |= node.op_type == "Attention" and bool(g.attribute(node, "q_num_heads", 0))
    return node.inputs[0] if keeps else None


def _of_sum(node: ir.Node) -> ir.Value | None:
    full = [value for value in node.inputs if value is not None and g.rank(value) == 3]
    if len(full) == 1:
        other = g.other_input(node, full[0])
        return full[0] if g.rank(other) in (0, 1) else None
    if len(full) != 2:
        return None
    names = [_names(value) for value in full]
    return full[0] if names[0] == names[1] and None not in names[0] else None


def _features(node: ir.Node) -> int | None:
    """Size of the last axis of the result."""
    if node.op_type == OP_TYPE:
        return node.attributes["out_features"].as_int()
    if node.op_type == "MatMul":
        return g.static_dim(node.inputs[1], 1)
    known = [g.static_dim(value, 2) for value in (node.outputs[0], *node.inputs) if g.rank(value) == 3]
    return next((size for size in known if size is not None), None)


def _names(value: ir.Value) -> list[int | str | None]:
    """The first two sizes: numbers, symbols, or None."""
    return [size if isinstance(size, int) else size.value for size in (value.shape or ())[:2]]
