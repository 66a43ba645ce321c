"""A sparse linear layer while the graph passes work on it: a form of its own that no file contains.

Y = norm(S), S = act(X W^T + bias) + residual, W a row-major CSR matrix [out_features, in_features]. Inputs are
optional, so that a pass can add one; `functions.attach_functions` turns the node into the operator of the table that
does what it says.

inputs      X float32 [..., in]; values float32 or float16 [nnz]; columns uint16 [nnz] when in <= 65536, else int32;
            row_starts int32 [out + 1]; optional: bias float32 [out]; residual float32 [..., out];
            scale and shift float32 [out] of a layer norm over the last axis
outputs     Y float32 [..., out]; optional: S, what goes into the norm
attributes  in_features, out_features, activation ("", "gelu", "gelu_tanh", "relu"), epsilon with a norm
"""

from enum import IntEnum
from typing import Any

import onnx_ir as ir

from platon_compress.export.operators import DOMAIN, OPERATORS, Operator

__all__ = [
    "OP_TYPE",
    "Input",
    "attributes",
    "is_sparse_linear",
    "norm",
    "operator",
    "optional_input",
    "residual",
    "stored",
    "tail",
]

OP_TYPE = "SparseLinear"


class Input(IntEnum):
    """Places of the form's inputs."""

    X = 0
    VALUES = 1
    COLUMNS = 2
    ROW_STARTS = 3
    BIAS = 4
    RESIDUAL = 5
    SCALE = 6
    SHIFT = 7


def is_sparse_linear(node: ir.Node) -> bool:
    """Whether `node` is this form."""
    return node.op_type == OP_TYPE and node.domain == DOMAIN


def optional_input(node: ir.Node, place: int) -> ir.Value | None:
    """Input `place` of a node, None when it is absent."""
    return node.inputs[place] if len(node.inputs) > place else None


def tail(node: ir.Node) -> tuple[str, ...]:
    """What follows the product: ("residual", "norm", "sum") or a part of that."""
    parts = (
        ("residual", optional_input(node, Input.RESIDUAL) is not None),
        ("norm", optional_input(node, Input.SCALE) is not None),
        ("sum", len(node.outputs) > 1),
    )
    return tuple(name for name, present in parts if present)


def operator(node: ir.Node) -> tuple[Operator, list[ir.Value | None]]:
    """The operator of the table, and the node's inputs in its order; None stands for a bias of zeros."""
    activation = node.attributes["activation"].as_string()
    parts = (activation,) if activation else tail(node)
    found = OPERATORS[Operator("Linear", parts, "csr").name]
    return found, [node.inputs[Input.X], *residual(node), *stored(node), *norm(node)]


def attributes(node: ir.Node) -> dict[str, Any]:
    """The node's attributes by their names in the file."""
    return {name: attribute.value for name, attribute in node.attributes.items()}


def stored(node: ir.Node) -> list[ir.Value | None]:
    """The arrays of its weight, and its bias or None."""
    return [*node.inputs[Input.VALUES : Input.BIAS], optional_input(node, Input.BIAS)]


def residual(node: ir.Node) -> list[ir.Value | None]:
    """What is added to its product, if anything."""
    value = optional_input(node, Input.RESIDUAL)
    return [] if value is None else [value]


def norm(node: ir.Node) -> list[ir.Value | None]:
    """Scale and shift of its norm, if it has one."""
    return list(node.inputs[Input.SCALE : Input.SHIFT + 1])
