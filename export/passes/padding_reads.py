"""What the head of a graph reads of the places that attention_mask hides: found by evaluating it.

Padding removal computes nothing at hidden places. That is exact where the results do not depend on them: a mean over the
shown tokens never does, a pooler that reads the first token does not where that one is shown.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx.reference import ReferenceEvaluator

from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.spell_gelu import SpellGelu

__all__ = ["Reads", "hidden_reads"]

_BATCH, _TOKENS = 5, 7
_TOLERANCE = 1e-4


class Reads(Enum):
    """Which tokens must be shown for the results to be those of the padded graph."""

    NONE = "none"
    FIRST = "the first one of each row"
    UNKNOWN = "unknown"


@dataclass
class _Head:
    """What computes the outputs. fed: activations [batch, tokens, features], known at shown places only."""

    nodes: set[ir.Node] = field(default_factory=set)
    constants: set[ir.Value] = field(default_factory=set)
    fed: set[ir.Value] = field(default_factory=set)


def hidden_reads(graph: ir.Graph, activations: Collection[ir.Value], mask: ir.Value) -> Reads:
    """Run what follows `activations` twice, with other numbers at hidden places, on random masks."""
    head = _head(graph, activations, mask)
    if head is None:
        return Reads.UNKNOWN
    try:
        evaluator = ReferenceEvaluator(_model(graph, head, mask))
        return next(
            (
                reads
                for reads, first_shown in ((Reads.NONE, False), (Reads.FIRST, True))
                if all(_same(evaluator, head, mask, seed, first_shown) for seed in range(3))
            ),
            Reads.UNKNOWN,
        )
    except Exception:  # whatever the evaluator cannot run is not known
        return Reads.UNKNOWN


def _head(graph: ir.Graph, activations: Collection[ir.Value], mask: ir.Value) -> _Head | None:
    """None when an output depends on anything but `activations`, the mask and constants."""
    head, waiting = _Head(), list(graph.outputs)
    while waiting:
        value = waiting.pop()
        node = value.producer()
        if value in activations:
            head.fed.add(value)
        elif value is mask or node in head.nodes:
            continue
        elif node is not None:
            head.nodes.add(node)
            waiting += [value for value in node.inputs if value is not None]
        elif value.const_value is not None:
            head.constants.add(value)
        else:
            return None
    return head


def _model(graph: ir.Graph, head: _Head, mask: ir.Value) -> onnx.ModelProto:
    from platon_compress.export.functions import attach_functions  # which knows the passes

    info = onnx.helper.make_tensor_value_info
    inputs = [(value, onnx.TensorProto.FLOAT) for value in head.fed] + [(mask, _kind(mask))]
    outputs = [value for value in graph.outputs if value not in head.fed]
    constants = [(value.const_value, str(value.name)) for value in head.constants]
    proto = onnx.helper.make_model(
        onnx.helper.make_graph(
            [ir.serde.serialize_node(node) for node in graph if node in head.nodes],
            "head",
            [info(str(value.name), kind, None) for value, kind in inputs],
            [info(str(value.name), onnx.TensorProto.UNDEFINED, None) for value in outputs],
            [onnx.numpy_helper.from_array(t.numpy(), name) for t, name in constants if t is not None],
        ),
        opset_imports=[
            onnx.helper.make_opsetid(name, version) for name, version in graph.opset_imports.items()
        ],
    )
    model = ir.from_proto(proto)
    apply_rule(SpellGelu(), model.graph)
    attach_functions(model)
    return ir.to_proto(model)


def _kind(mask: ir.Value) -> int:
    return onnx.TensorProto.INT64 if mask.dtype is None else mask.dtype.value


def _same(evaluator: ReferenceEvaluator, head: _Head, mask: ir.Value, seed: int, first_shown: bool) -> bool:
    """One probe: whether the results stay when the numbers at hidden places change."""
    random = np.random.default_rng(seed)
    shown = random.integers(0, 2, (_BATCH, _TOKENS))
    shown[:, 0] |= first_shown
    shown[0, 1:], shown[1, 1:] = 0, 1  # one token or none, and all of them
    feeds: list[dict[str, Any]] = [
        {str(mask.name): shown.astype(mask.dtype.numpy() if mask.dtype else int)} for _ in "ab"
    ]
    for value in sorted(head.fed, key=lambda value: str(value.name)):
        numbers = random.standard_normal((2, _BATCH, _TOKENS, g.static_dim(value, 2) or 0)).astype(np.float32)
        hidden = numbers[1] * 10
        feeds[0][str(value.name)] = numbers[0]
        feeds[1][str(value.name)] = np.where(shown[..., None] == 1, numbers[0], hidden)
    results = zip(*(evaluator.run(None, feed) for feed in feeds), strict=True)
    return all(np.allclose(_read(a, shown), _read(b, shown), atol=_TOLERANCE) for a, b in results)


def _read(result: Any, shown: np.ndarray) -> np.ndarray:
    """What may be read of a result: of one for each token, the shown ones."""
    array = np.asarray(result)
    return array[shown == 1] if array.shape[:2] == shown.shape else array
