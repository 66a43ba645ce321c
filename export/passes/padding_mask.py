"""Masks that do nothing but hide the padding: found by evaluating them, because the exporters spell them in many ways.

A transformers model turns attention_mask [batch, tokens] into scores [batch, 1, tokens, tokens] whose rows are all
alike, by comparisons, expansions and gathers that differ between versions and exporters.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from platon_compress.export.attention_body import HIDDEN
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes.fuse_attention import NEVER

__all__ = ["PADDING_MASK", "hides_padding", "padding_scores"]

PADDING_MASK = "attention_mask"
_NAME = "padding_scores"
_LONGEST = 512  # tokens up to which a constant of the mask is taken for a window or a table, and tried out


def hides_padding(mask: ir.Value, graph: ir.Graph) -> bool:
    """Whether `mask`, added to scores, is 0 for each valid key and hides each padded one, for all heads and queries alike.

    The part of the graph that computes it from attention_mask and from sizes runs on random attention masks.
    """
    source = _source(graph)
    part = None if source is None else _part(mask, source)
    if source is None or part is None or _reach(part) > _LONGEST:
        return False
    probes = ((2, 5), (3, 8 + 2 * _reach(part)))  # batch, tokens: no two axes can be confused
    random = np.random.default_rng(0)
    try:
        evaluator = ReferenceEvaluator(_model(part, mask, source, graph))
        return all(_agrees(evaluator, part, source, random.integers(0, 2, probe)) for probe in probes)
    except Exception:  # whatever the evaluator cannot run stays as it is
        return False


def padding_scores(graph: ir.Graph) -> ir.Value:
    """The same mask, written once: float32 [batch, 1, 1, tokens]."""
    first, mask = graph[0], _source(graph)
    if mask is None or mask.shape is None:
        raise TypeError(f"the graph has no input {PADDING_MASK}")
    floats = g.insert_before(first, "Cast", [mask], {"to": ir.DataType.FLOAT.value})
    one, hidden = (g.add_constant(graph, f"{_NAME}_{n:g}", np.array(n, np.float32)) for n in (1.0, HIDDEN))
    padded = g.insert_before(first, "Sub", [one, floats])
    scores = g.insert_before(first, "Mul", [padded, hidden])
    axes = g.add_constant(graph, f"{_NAME}_axes", np.array([1, 2], np.int64))
    result = g.insert_before(first, "Unsqueeze", [scores, axes])
    result.shape, result.type = (
        ir.Shape([mask.shape[0], 1, 1, mask.shape[1]]),
        ir.TensorType(ir.DataType.FLOAT),
    )
    return result


def _source(graph: ir.Graph) -> ir.Value | None:
    found = next((value for value in graph.inputs if value.name == PADDING_MASK), None)
    return found if g.rank(found) == 2 else None


@dataclass
class _Part:
    """What computes a mask. sizes: Shape nodes of token ids or activations, whose results are fed."""

    nodes: set[ir.Node] = field(default_factory=set)
    sizes: set[ir.Node] = field(default_factory=set)
    constants: set[ir.Value] = field(default_factory=set)


def _part(mask: ir.Value, source: ir.Value) -> _Part | None:
    """None when the mask reads anything but `source`, constants, and sizes."""
    part, waiting = _Part(), [mask]
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value is source or node in part.nodes or node in part.sizes:
            continue
        if node is None:
            if value.const_value is None:
                return None
            part.constants.add(value)
        elif _is_size(node, source):
            part.sizes.add(node)
        else:
            part.nodes.add(node)
            waiting += [value for value in node.inputs if value is not None]
    return part


def _reach(part: _Part) -> int:
    """The largest number or length in constants and tensor attributes: no window or table can be wider.

    Left out: what hides a key, and the largest integers, which mean "to the end".
    """
    found = [0]
    attributes = [attribute for node in part.nodes for attribute in node.attributes.values()]
    tensors = [value.const_value for value in part.constants]
    tensors += [a.as_tensor() for a in attributes if a.type == ir.AttributeType.TENSOR]
    for tensor in tensors:
        array = np.asarray(tensor, np.float64)  # type: ignore[arg-type]
        usual = array[(abs(array) < np.iinfo(np.int32).max) & (array > NEVER)]
        found += [*array.shape, int(abs(usual).max(initial=0))]
    return max(found)


def _is_size(node: ir.Node, source: ir.Value) -> bool:
    """A Shape of [batch, tokens] or [batch, tokens, features]."""
    measured = node.inputs[0] if node.op_type == "Shape" else None
    if measured is None or measured is source:
        return False
    ids = g.rank(measured) == 2 and measured.producer() is None
    return ids or (g.rank(measured) == 3 and g.static_dim(measured, 2) is not None)


def _model(part: _Part, mask: ir.Value, source: ir.Value, graph: ir.Graph) -> onnx.ModelProto:
    kind = onnx.TensorProto.INT64 if source.dtype is None else source.dtype.value
    fed = [(source, kind), *((node.outputs[0], onnx.TensorProto.INT64) for node in part.sizes)]
    info = onnx.helper.make_tensor_value_info
    constants = [(value, value.const_value) for value in part.constants]
    return onnx.helper.make_model(
        onnx.helper.make_graph(
            [ir.serde.serialize_node(node) for node in graph if node in part.nodes],
            _NAME,
            [info(str(value.name), element, None) for value, element in fed],
            [info(str(mask.name), onnx.TensorProto.FLOAT, None)],
            [onnx.numpy_helper.from_array(t.numpy(), str(v.name)) for v, t in constants if t is not None],
        ),
        opset_imports=[onnx.helper.make_opsetid("", graph.opset_imports[""])],
    )


def _agrees(evaluator: ReferenceEvaluator, part: _Part, source: ir.Value, valid: np.ndarray) -> bool:
    """One probe: `valid` [batch, tokens] of 0 and 1; the first token of each text is valid."""
    valid[:, 0] = 1
    feed = {str(node.outputs[0].name): _measured(node, valid.shape) for node in part.sizes}
    feed[PADDING_MASK] = valid.astype(np.int64 if source.dtype is None else source.dtype.numpy())
    results: Any = evaluator.run(None, feed)
    scores = results[0]
    batch, tokens = valid.shape
    if scores.ndim != 4 or (scores.shape[0], scores.shape[3]) != (batch, tokens):
        return False
    shown = np.broadcast_to(valid[:, None, None, :] == 1, scores.shape)
    return bool((scores[shown] == 0).all() and (scores[~shown] <= NEVER).all())


def _measured(node: ir.Node, sizes: tuple[int, ...]) -> np.ndarray:
    """What a Shape node returns for a probe of [batch, tokens]."""
    features = g.static_dim(node.inputs[0], 2)
    full = [*sizes, *([] if features is None else [features])]
    return np.array(full[g.attribute(node, "start", 0) : g.attribute(node, "end", None)], np.int64)
