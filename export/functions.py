"""Gives every node of ours the name of what it does and the file its bodies, so that any ONNX Runtime runs it."""

import onnx_ir as ir

from platon_compress.export import attention_op, sparse_linear
from platon_compress.export.bodies import body
from platon_compress.export.operators import DOMAIN, OPERATORS, VERSION
from platon_compress.export.passes._become import become

__all__ = ["attach_functions", "is_ours"]


def is_ours(node: ir.Node) -> bool:
    """Whether `node` is an operator of the table, as it stands in a file."""
    return node.domain == DOMAIN and node.op_type in OPERATORS


def attach_functions(model: ir.Model) -> int:
    """Turn working forms into operators of the table, each with its body. Returns the number of nodes of ours."""
    for node in tuple(model.graph):
        if sparse_linear.is_sparse_linear(node):
            become(node, *sparse_linear.operator(node), sparse_linear.attributes(node))
        elif attention_op.is_attention(node):
            become(node, *attention_op.operator(node), attention_op.attributes(node))
    ours = [node for node in model.graph if is_ours(node)]
    for name in dict.fromkeys(node.op_type for node in ours):
        identifier = (DOMAIN, name, "")
        if identifier not in model.functions:
            model.functions[identifier] = body(OPERATORS[name], model.opset_imports[""])
    if ours:
        model.opset_imports[DOMAIN] = VERSION
    return len(ours)
