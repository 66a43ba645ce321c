"""Whether queries, keys and values are of the same tokens: self-attention, not cross-attention."""

from collections.abc import Sequence

import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.sparse_linear import OP_TYPE, is_sparse_linear

__all__ = ["of_same_tokens"]

_OPERANDS = 3


def of_same_tokens(operands: Sequence[ir.Value | None]) -> bool:
    """Whether Q, K and V [batch, tokens, features] are known to have one number of tokens, or one source."""
    found = [value for value in operands if g.rank(value) == 3]
    if len(found) < _OPERANDS:
        return False
    tokens, sources = {_tokens(value) for value in found}, {_source(value) for value in found}
    return any(len(values) == 1 and None not in values for values in (tokens, sources))


def _tokens(value: ir.Value | None) -> int | str | None:
    """The number of tokens, or its name."""
    if value is None or value.shape is None:
        return None
    size = value.shape[1]
    return size if isinstance(size, int) else size.value


def _source(value: ir.Value | None) -> ir.Value | None:
    """What the sparse layer that computes `value` reads."""
    layer = g.produced_by(value, OP_TYPE)
    return layer.inputs[0] if layer is not None and is_sparse_linear(layer) else None
