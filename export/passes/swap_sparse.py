"""MatMul or Gemm with a planned weight -> `platon::SparseLinear`. Weights are recognised by their values.

Equal initializers are merged, renamed and transposed by the exporters, so names prove nothing; two weights
with equal values may stand for each other. The module path decides only between equal ones (for the report).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import onnx_ir as ir

from platon_compress.export.operators import DOMAIN
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import Refusal, Rule
from platon_compress.export.sparse_linear import OP_TYPE
from platon_compress.export.value_types import note_int8

__all__ = ["SwapSparse"]


@dataclass(frozen=True)
class _Linear:
    parameter: str
    x: ir.Value
    bias: ir.Value | None


class SwapSparse(Rule):
    """Replace each product with a weight of `csr` by the sparse operator.

    csr: parameter name -> CSR weight (values float32 [nnz], columns [nnz], row_starts int32 [out + 1],
    out_features, in_features). int8: names of those that become 8-bit numbers. `replaced` maps parameter names to the
    node names that took their place.
    """

    name = "swap_sparse"
    anchors: ClassVar = frozenset({"MatMul", "Gemm"})

    def __init__(self, csr: Mapping[str, Any], int8: Collection[str] = ()) -> None:
        self._csr, self._int8 = csr, frozenset(int8)
        self._by_size: dict[tuple[int, int, int], list[str]] = {}
        for name, weight in csr.items():
            key = (weight.out_features, weight.in_features, int(np.count_nonzero(weight.values)))
            self._by_size.setdefault(key, []).append(name)
        self.replaced: dict[str, list[str]] = {}

    def check(self, node: ir.Node) -> _Linear | Refusal | None:
        """Look the weight up by value; refuse a Gemm that is not a plain linear layer."""
        x, weight = node.inputs[0], _weight(node)
        if weight is None or x is None:
            return None
        parameter = self._find(weight, g.module_path(node))
        if parameter is None:
            return None
        bias = node.inputs[2] if node.op_type == "Gemm" and len(node.inputs) > 2 else None
        reason = _gemm_refusal(node, bias, weight.shape[0])
        return Refusal(f"{parameter}: {reason}") if reason else _Linear(parameter, x, bias)

    def rewrite(self, node: ir.Node, match: _Linear) -> None:
        """Write the CSR arrays once per parameter and the node in place of the product."""
        graph = node.graph
        if not isinstance(graph, ir.Graph):
            raise TypeError("sparse weights can only be swapped in the main graph")
        weight, module = self._csr[match.parameter], match.parameter.removesuffix(".weight")
        arrays = [
            g.add_constant(graph, f"{match.parameter}.{part}", np.ascontiguousarray(getattr(weight, part)))
            for part in ("values", "columns", "row_starts")
        ]
        if match.parameter in self._int8:
            note_int8(arrays[0])
        attributes = {
            "in_features": weight.in_features,
            "out_features": weight.out_features,
            "activation": "",
        }
        inputs = [match.x, *arrays, *([] if match.bias is None else [match.bias])]
        uses = self.replaced.setdefault(match.parameter, [])
        name = f"/{module.replace('.', '/')}/{OP_TYPE}" + (f"_{len(uses)}" if uses else "")
        new = g.insert_before(node, OP_TYPE, inputs, attributes, domain=DOMAIN, name=name)
        g.substitute(node.outputs[0], new)
        uses.append(name)

    def missing(self) -> tuple[tuple[str, str], ...]:
        """Planned weights that no product of the graph uses, with the reason."""
        reason = "no MatMul or Gemm of the exported graph multiplies by this weight"
        return tuple((name, reason) for name in self._csr if name not in self.replaced)

    def _find(self, weight: np.ndarray, module: str) -> str | None:
        """Name of the planned weight with these values; `weight` is [out, in]."""
        key = (*weight.shape, int(np.count_nonzero(weight)))
        equal = [n for n in self._by_size.get(key, ()) if np.array_equal(_dense(self._csr[n]), weight)]
        named = [n for n in equal if n.removesuffix(".weight") == module]
        return next(iter(named or equal), None)


def _weight(node: ir.Node) -> np.ndarray | None:
    """The constant second factor as [out, in], or None."""
    if len(node.inputs) < 2 or g.rank(node.inputs[1]) != 2:
        return None
    array = g.constant(node.inputs[1])
    if array is None or array.dtype != np.float32:
        return None
    return array if g.attribute(node, "transB", 0) else array.T


def _gemm_refusal(node: ir.Node, bias: ir.Value | None, out_features: int) -> str | None:
    if node.op_type != "Gemm":
        return None
    if g.attribute(node, "alpha", 1.0) != 1.0 or g.attribute(node, "beta", 1.0) != 1.0:
        return "the Gemm scales its result, a linear layer does not"
    if g.attribute(node, "transA", 0):
        return "the Gemm transposes its input, a linear layer does not"
    if bias is not None and (g.constant(bias) is None or bias.shape != ir.Shape([out_features])):
        return "the Gemm adds something other than one constant bias per output"
    return None


def _dense(weight: Any) -> np.ndarray:
    """[out, in] float32 matrix of a CSR weight."""
    dense = np.zeros((weight.out_features, weight.in_features), np.float32)
    rows = np.repeat(np.arange(weight.out_features), np.diff(weight.row_starts))
    dense[rows, weight.columns] = weight.values
    return dense
