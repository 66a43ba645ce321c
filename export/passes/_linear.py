"""Linear layers as they stand in a graph: a product with a constant weight, mostly the sum with a constant bias."""

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from platon_compress.export.passes import _graph as g
from platon_compress.export.sparse_linear import Input, is_sparse_linear
from platon_compress.formats.csr import CsrWeight

__all__ = ["Linear", "linear_after", "linear_behind"]


@dataclass(frozen=True)
class Linear:
    """product: SparseLinear or MatMul. adder: the node whose input `bias_index` is the bias; None without one."""

    product: ir.Node
    adder: ir.Node | None = None
    bias_index: int = 0

    @property
    def result(self) -> ir.Value:
        """The layer's output, bias included."""
        return (self.adder or self.product).outputs[0]

    @property
    def sparse(self) -> bool:
        """Whether the product is the sparse operator."""
        return is_sparse_linear(self.product)

    @property
    def shared(self) -> bool:
        """Whether another node reads the same weight."""
        weight = self.product.inputs[1]
        return weight is None or len(tuple(weight.uses())) > 1

    def matrix(self) -> np.ndarray:
        """W of a sparse layer with its zeros, float32 [out, in]."""
        values, columns, row_starts = (_array(value) for value in self.product.inputs[1:4])
        return CsrWeight(
            values=values,
            columns=columns,
            row_starts=row_starts,
            out_features=len(row_starts) - 1,
            in_features=self.product.attributes["in_features"].as_int(),
        ).to_dense()

    def times(self, vector: np.ndarray) -> np.ndarray:
        """W v, float64 [out]; v is [in]."""
        if not self.sparse:
            return np.asarray(g.constant(self.product.inputs[1]), np.float64).T @ vector
        values, columns, row_starts = (_array(value) for value in self.product.inputs[1:4])
        rows = np.repeat(np.arange(len(row_starts) - 1), np.diff(row_starts))
        return np.bincount(
            rows,
            values.astype(np.float64) * vector[columns],
            minlength=len(row_starts) - 1,
        )

    def scale_inputs(self, scale: np.ndarray) -> None:
        """W <- W diag(scale), in place; scale is [in]. The layer must be sparse and its weight not shared."""
        self._multiply_weight(scale[_array(self.product.inputs[2])])

    def scale_outputs(self, scale: np.ndarray) -> None:
        """W <- diag(scale) W and c <- scale * c; scale is [out]. The same conditions."""
        self._multiply_weight(np.repeat(scale, np.diff(_array(self.product.inputs[3]))))
        if self.adder is not None:
            bias = np.asarray(g.constant(self.adder.inputs[self.bias_index]), np.float64)
            self.add_to_bias(bias * (scale - 1))

    def _multiply_weight(self, factor: np.ndarray) -> None:
        weight = self.product.inputs[1]
        array = g.constant(weight)
        if weight is None or array is None:
            raise TypeError("the weight of a linear layer must be a constant")
        weight.const_value = ir.tensor((array * factor).astype(np.float32), name=weight.name)

    def add_to_bias(self, vector: np.ndarray) -> None:
        """c <- c + vector [out], in an initializer of its own: equal biases of other layers are one tensor."""
        if self.adder is None:
            raise TypeError("the linear layer has no bias")
        old, graph = self.adder.inputs[self.bias_index], self.adder.graph
        array = g.constant(old)
        if old is None or array is None or not isinstance(graph, ir.Graph):
            raise TypeError("the bias of a linear layer must be a constant of the main graph")
        name = f"{old.name}+{len(graph.initializers)}"
        new = g.add_constant(graph, name, (array + vector).astype(np.float32))
        self.adder.replace_input_with(self.bias_index, new)


def _array(value: ir.Value | None) -> np.ndarray:
    array = g.constant(value)
    if array is None:
        raise TypeError("the arrays of a linear layer must be constants")
    return array


def linear_after(user: ir.Node, index: int) -> Linear | None:
    """The layer that multiplies its input `index`, when that is a linear layer with constants."""
    if index != 0:
        return None
    if is_sparse_linear(user):
        return _sparse(user)
    if user.op_type != "MatMul" or g.rank(user.inputs[1]) != 2 or g.constant(user.inputs[1]) is None:
        return None
    adder = g.single_use(user.outputs[0])
    return _dense(user, adder) or Linear(user)


def linear_behind(value: ir.Value | None) -> Linear | None:
    """The layer whose result `value` is, when nothing else reads it."""
    if value is None or g.single_use(value) is None:
        return None
    node = value.producer()
    if node is not None and is_sparse_linear(node):
        more = node.attributes["activation"].as_string() or len(node.inputs) > Input.RESIDUAL
        return None if more else _sparse(node)
    if node is None or node.op_type not in ("Add", "MatMul"):
        return None
    if node.op_type == "MatMul":
        return linear_after(node, 0) if g.single_use(value) is not None else None
    for inner in node.inputs:
        product = g.produced_by(inner, "MatMul")
        if product is not None and g.single_use(product.outputs[0]) is node:
            return _dense(product, node)
    return None


def _sparse(node: ir.Node) -> Linear | None:
    """A SparseLinear with a constant bias or none."""
    bias = node.inputs[Input.BIAS] if len(node.inputs) > Input.BIAS else None
    if bias is None:
        return Linear(node)
    return None if g.constant(bias) is None else Linear(node, node, Input.BIAS)


def _dense(product: ir.Node, adder: ir.Node | None) -> Linear | None:
    """A MatMul with a constant matrix and an Add of one constant per output."""
    if adder is None or adder.op_type != "Add" or g.constant(product.inputs[1]) is None:
        return None
    if g.rank(product.inputs[1]) != 2:
        return None
    index = 1 if adder.inputs[0] is product.outputs[0] else 0
    bias = g.constant(adder.inputs[index])
    outputs = g.static_dim(product.inputs[1], 1)
    return Linear(product, adder, index) if bias is not None and bias.shape == (outputs,) else None
