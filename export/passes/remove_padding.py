"""Compute linears, norms and sums on the valid tokens of a padded batch only. Exact, or refused.

The hidden states [batch, tokens, features] are gathered once behind the embeddings to [1, valid, features].
Operators that treat each token alone run on that; attention gets its queries, keys and values back at their
padded places (a padded place repeats a valid token, which the mask hides as a key and nobody reads as a query)
and its result is gathered again; our own attention takes the packed sequences and their lengths instead;
whatever else reads hidden states gets them at their padded places.
A per-token output holds zeros at hidden places. A batch that holds nothing but padding is computed whole.

Rules: [start] the first LayerNormalization of [batch, tokens, features], with an input `attention_mask`;
[alone] products with constant matrices, norms over features, activations, sums of packed values and constants;
[reads] results must not depend on hidden places; where they do not as long as the first token of each row is shown (a
pooler), the graph checks that; [check] so it does for masks of other values than 0 and 1. A check that fails is an error of
the run, in a node whose name says what is wrong.
"""

from enum import Enum

import numpy as np
import onnx_ir as ir

from platon_compress.export.attention_op import AttentionInput, is_attention
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import PassReport
from platon_compress.export.passes.padding_mask import PADDING_MASK, hides_padding
from platon_compress.export.passes.padding_reads import Reads, hidden_reads

__all__ = ["remove_padding"]

_NAME = "remove_padding"
_SCORES_RANK = 4
_HIDDEN_READ = "the results may depend on hidden tokens, which would not be computed"
_NOT_BITS = "attention_mask must hold only 0 and 1 in a file without padding"
_FIRST_HIDDEN = "attention_mask must show the first token of every row in a file without padding"
_SPELLED_OUT = (
    "attention stands in the file step by step, on padded tokens; use opset 23 or later, or sparse layers"
)
_UNARY = frozenset({"Gelu", "FastGelu", "Relu", "Tanh", "Erf", "Sigmoid", "Identity", "Sqrt"})
_BINARY = frozenset({"Add", "Sub", "Mul", "Div"})


def remove_padding(model: ir.Model) -> PassReport:
    """Rewrite `model` in place; `applied` counts the operators that run on valid tokens only afterwards."""
    graph = model.graph
    mask = next((value for value in graph.inputs if value.name == PADDING_MASK), None)
    start = next((n for n in graph if n.op_type == "LayerNormalization" and _is_hidden(n.outputs[0])), None)
    if mask is None or start is None:
        return PassReport(
            _NAME, 0, ((_NAME, "there is no attention_mask, or no norm behind embeddings to start at"),)
        )
    if any(node.op_type == "Softmax" and g.rank(node.inputs[0]) == _SCORES_RANK for node in graph):
        return PassReport(_NAME, 0, ((_NAME, _SPELLED_OUT),))
    plan = _Plan(graph, start)
    reads = hidden_reads(graph, plan.packed, mask)
    if reads is Reads.UNKNOWN:
        return PassReport(_NAME, 0, ((_NAME, _HIDDEN_READ),))
    return PassReport(_NAME, _Packing(graph, mask, plan, reads).run())


class _How(Enum):
    """What becomes of a node that reads hidden states."""

    LENGTHS = "attention over packed sequences"
    ATTENTION = "attention at padded places, packed again"
    ALONE = "runs on valid tokens"
    PADDED = "reads padded places"


class _Plan:
    """Walks the graph once, in order, and changes nothing. packed: values that will exist packed."""

    def __init__(self, graph: ir.Graph, start: ir.Node) -> None:
        self._graph, self.start = graph, start
        self.packed: set[ir.Value] = {start.outputs[0]}
        self.nodes: dict[ir.Node, _How] = {}
        nodes = tuple(graph)
        for node in nodes[nodes.index(start) + 1 :]:
            if not any(value in self.packed for value in node.inputs if value is not None):
                continue
            self.nodes[node] = how = self._how(node)
            if how is not _How.PADDED:
                self.packed.add(node.outputs[0])

    def _how(self, node: ir.Node) -> _How:
        if self._attends_by_length(node):
            return _How.LENGTHS
        if node.op_type == "Attention" and _is_hidden(node.outputs[0]):
            return _How.ATTENTION
        return _How.ALONE if self._alone(node) else _How.PADDED

    def _alone(self, node: ir.Node) -> bool:
        """Whether `node` treats each token alone."""
        x, others = node.inputs[0], node.inputs[1:]
        constants = all(value is None or g.constant(value) is not None for value in others)
        if node.op_type in _BINARY:
            return all(value in self.packed or _per_feature(value) for value in node.inputs)
        if node.op_type == "LayerNormalization":
            return x in self.packed and constants and g.attribute(node, "axis", -1) in (-1, 2)
        if node.op_type in ("MatMul", "SparseLinear"):
            return x in self.packed and constants and (node.op_type != "MatMul" or g.rank(others[0]) == 2)
        return node.op_type in _UNARY and x in self.packed

    def _attends_by_length(self, node: ir.Node) -> bool:
        """Whether `node` is our attention over packed values, with a mask that only hides padded keys."""
        if not is_attention(node) or len(node.inputs) <= AttentionInput.MASK:
            return False
        mask = node.inputs[AttentionInput.MASK]
        operands = node.inputs[: AttentionInput.V + 1]
        packed = all(value is None or value in self.packed for value in operands)
        return mask is not None and packed and hides_padding(mask, self._graph)


class _Packing:
    """Applies a plan."""

    def __init__(self, graph: ir.Graph, mask: ir.Value, plan: _Plan, reads: Reads) -> None:
        self._graph, self._start, self._plan = graph, plan.start, plan
        start = plan.start
        anchor = self._after(start)
        shown = self._shown(mask, anchor)
        self._visible = g.insert_before(anchor, "Cast", [shown], {"to": ir.DataType.BOOL.value})
        flat = g.insert_before(anchor, "Reshape", [shown, self._const("flat", [-1])])
        found = g.insert_before(anchor, "NonZero", [flat])
        places = g.insert_before(anchor, "Reshape", [found, self._const("flat", [-1])])
        self._valid = g.insert_before(anchor, "Add", [places, self._checked(mask, anchor, reads)])
        running = g.insert_before(anchor, "CumSum", [flat, self._const("axis_0", 0)])
        place = g.insert_before(anchor, "Sub", [running, self._const("one", 1)])
        self._place = g.insert_before(anchor, "Max", [place, self._const("axis_0", 0)])
        self._sizes = g.insert_before(anchor, "Shape", [mask])
        self._lengths = g.insert_before(
            anchor, "ReduceSum", [shown, self._const("last", [1])], {"keepdims": 0}
        )
        self._anchor = anchor
        self._packed: dict[ir.Value, ir.Value] = {}  # value as it was -> [1, valid, features]
        self._unpacked: dict[ir.Value, ir.Value] = {}

    def _shown(self, mask: ir.Value, anchor: ir.Node) -> ir.Value:
        """The mask as int64; all ones where it hides all tokens of the batch, because no operator takes none."""
        rows = g.insert_before(anchor, "Cast", [mask], {"to": ir.DataType.INT64.value})
        total = g.insert_before(anchor, "ReduceSum", [rows], {"keepdims": 0})
        nothing = g.insert_before(anchor, "Equal", [total, self._const("axis_0", 0)])
        added = g.insert_before(anchor, "Cast", [nothing], {"to": ir.DataType.INT64.value})
        return g.insert_before(anchor, "Add", [rows, added])

    def _checked(self, mask: ir.Value, anchor: ir.Node, reads: Reads) -> ir.Value:
        """Zero; an error of the run where the mask is none that this is exact for."""
        rows = g.insert_before(anchor, "Cast", [mask], {"to": ir.DataType.INT64.value})
        again = g.insert_before(anchor, "Cast", [rows], {"to": _kind(mask)})
        whole = g.insert_before(anchor, "Equal", [again, mask])
        square = g.insert_before(anchor, "Mul", [rows, rows])
        bit = g.insert_before(anchor, "Equal", [square, rows])
        zero = self._refused_unless(g.insert_before(anchor, "And", [whole, bit]), _NOT_BITS, anchor)
        if reads is not Reads.FIRST:
            return zero
        first = g.insert_before(anchor, "Gather", [rows, self._const("axis_0", 0)], {"axis": 1})
        shown = g.insert_before(anchor, "Cast", [first], {"to": ir.DataType.BOOL.value})
        return g.insert_before(anchor, "Add", [zero, self._refused_unless(shown, _FIRST_HIDDEN, anchor)])

    def _refused_unless(self, holds: ir.Value, message: str, anchor: ir.Node) -> ir.Value:
        """Zero where all of `holds` is true; else a lookup fails that is named `message`."""
        fails = g.insert_before(anchor, "Not", [holds])
        counted = g.insert_before(anchor, "Cast", [fails], {"to": ir.DataType.INT64.value})
        count = g.insert_before(anchor, "ReduceSum", [counted], {"keepdims": 0})
        place = g.insert_before(anchor, "Min", [count, self._const("one", 1)])
        zeros = self._const("zeros", [0])
        return g.insert_before(anchor, "Gather", [zeros, place], {"axis": 0}, name=message)

    def run(self) -> int:
        """Number of operators moved."""
        self._pack(self._start.outputs[0], self._anchor)
        for node, how in self._plan.nodes.items():
            if how is _How.LENGTHS:
                self._attend_by_length(node)
            elif how is _How.ALONE:
                self._move(node)
            else:
                self._unpack_inputs(node)
            if how is _How.ATTENTION:
                self._pack(node.outputs[0], self._after(node))
        self._restore_outputs()
        return sum(how in (_How.LENGTHS, _How.ALONE) for how in self._plan.nodes.values())

    def _move(self, node: ir.Node) -> None:
        """Let `node` read packed values; its result is packed from now on."""
        for index, value in enumerate(node.inputs):
            if value in self._packed:
                node.replace_input_with(index, self._packed[value])
        result = node.outputs[0]
        features = None if result.shape is None else result.shape[-1]
        result.shape = ir.Shape([1, "valid_tokens", features])
        self._packed[result] = result

    def _attend_by_length(self, node: ir.Node) -> None:
        """Each sequence attends to itself: there is nothing left to hide."""
        node.resize_inputs(AttentionInput.LENGTHS + 1)
        node.replace_input_with(AttentionInput.MASK, None)
        node.replace_input_with(AttentionInput.LENGTHS, self._lengths)
        self._move(node)

    def _pack(self, value: ir.Value, anchor: ir.Node) -> None:
        """Gather the valid tokens of [batch, tokens, features]."""
        features = g.static_dim(value, -1)
        if features is None:
            raise TypeError("hidden states to pack must have a known size")
        rows = g.insert_before(anchor, "Reshape", [value, self._const(f"rows_{features}", [-1, features])])
        valid = g.insert_before(anchor, "Gather", [rows, self._valid], {"axis": 0})
        packed = g.insert_before(anchor, "Unsqueeze", [valid, self._const("axes_0", [0])])
        packed.shape, packed.type = ir.Shape([1, "valid_tokens", features]), value.type
        self._packed[value] = packed
        self._unpacked[value] = value

    def _unpack_inputs(self, node: ir.Node) -> None:
        for index, value in enumerate(node.inputs):
            if value is not None and value in self._packed:
                node.replace_input_with(index, self._at_padded_places(value, node))

    def _at_padded_places(self, value: ir.Value, anchor: ir.Node) -> ir.Value:
        """[batch, tokens, features] again, made once in front of the first reader."""
        if value not in self._unpacked:
            features = value.shape[-1] if value.shape is not None else None
            rows = g.insert_before(anchor, "Squeeze", [self._packed[value], self._const("axes_0", [0])])
            placed = g.insert_before(anchor, "Gather", [rows, self._place], {"axis": 0})
            tail = self._const(f"features_{features}", [features if isinstance(features, int) else -1])
            shape = g.insert_before(anchor, "Concat", [self._sizes, tail], {"axis": 0})
            result = g.insert_before(anchor, "Reshape", [placed, shape])
            result.shape, result.type = ir.Shape([None, None, features]), value.type
            self._unpacked[value] = result
        return self._unpacked[value]

    def _restore_outputs(self) -> None:
        """Outputs of the graph that were moved return to their padded places, under their own names."""
        for index, value in enumerate(tuple(self._graph.outputs)):
            if value not in self._packed or self._unpacked.get(value) is value:
                continue
            end = ir.node("Identity", [value])
            self._graph.append(end)
            restored = self._shown_only(self._at_padded_places(value, end), end)
            self._graph.remove(end, safe=True)
            name, value.name = value.name, f"{value.name}_valid"
            restored.name, restored.type = name, value.type
            self._graph.outputs[index] = restored

    def _shown_only(self, value: ir.Value, anchor: ir.Node) -> ir.Value:
        """Zeros at hidden places, where tokens of other texts stand."""
        shown = g.insert_before(anchor, "Unsqueeze", [self._visible, self._const("last_axis", [-1])])
        zero = g.add_constant(self._graph, "padding_zero_float", np.array(0, np.float32))
        result = g.insert_before(anchor, "Where", [shown, value, zero])
        result.shape, result.type = value.shape, value.type
        return result

    def _after(self, node: ir.Node) -> ir.Node:
        """The node that follows `node` in the graph."""
        nodes = tuple(self._graph)
        return nodes[nodes.index(node) + 1]

    def _const(self, name: str, content: int | list[int]) -> ir.Value:
        return g.add_constant(self._graph, f"padding_{name}", np.array(content, np.int64))


def _is_hidden(value: ir.Value) -> bool:
    """Whether `value` is known to be [batch, tokens, features] with a known number of features."""
    return g.rank(value) == 3 and g.static_dim(value, 2) is not None


def _kind(mask: ir.Value) -> int:
    return (ir.DataType.INT64 if mask.dtype is None else mask.dtype).value


def _per_feature(value: ir.Value | None) -> bool:
    """A constant that is the same for every token."""
    array = g.constant(value)
    return array is not None and (array.ndim <= 1 or all(size == 1 for size in array.shape[:-1]))
