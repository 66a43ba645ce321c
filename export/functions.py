"""Gives a graph the fallback functions of the operators in it, so that any ONNX Runtime runs the file."""

from collections.abc import Callable

import onnx_ir as ir

from platon_compress.export import attention_op, sparse_linear

__all__ = ["attach_functions"]


_Parts = tuple[str, ...]


def attach_functions(model: ir.Model) -> int:
    """Give each node of ours its overload and the model the bodies in use. Returns the number of sparse layers."""
    opset = model.opset_imports[""]
    ours = [node for node in model.graph if node.domain == sparse_linear.DOMAIN]
    for node in ours:
        parts, make = _body(node)
        node.overload = "_".join(parts)
        identifier = (sparse_linear.DOMAIN, node.op_type, node.overload)
        if identifier not in model.functions:
            model.functions[identifier] = make(parts, opset)
    if ours:
        model.opset_imports[sparse_linear.DOMAIN] = sparse_linear.VERSION
    return sum(sparse_linear.is_sparse_linear(node) for node in ours)


def _body(node: ir.Node) -> tuple[_Parts, Callable[[_Parts, int], ir.Function]]:
    """What the node does, which is the name of its overload, and who writes the body."""
    if node.op_type == sparse_linear.PACK_OP_TYPE:
        return (), sparse_linear.pack_function
    if attention_op.is_attention(node):
        return attention_op.variant(node), attention_op.attention_function
    return sparse_linear.variant(node), sparse_linear.linear_function
