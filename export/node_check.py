"""Operators with 8-bit weights by themselves, on what the file really feeds them: equal inputs, near-equal outputs.

Whole files drift apart, because a rounding that falls differently changes all that follows. One operator does not: its
whole numbers are defined exactly, and only the floats inside it (an activation function, a softmax, a norm) differ by last
bits, which now and then move one byte by one. So a kernel that computes something else shows here, and nowhere else as
clearly.
"""

import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from platon_compress.export.model_file import INLINE_LIMIT_BYTES
from platon_compress.export.operators import DOMAIN, OPERATORS
from platon_compress.export.outputs import Distance
from platon_compress.export.reading import load_proto
from platon_compress.export.session import open_session
from platon_compress.library import kernel_names, selected_kernel, taking_kernels
from platon_compress.scoring import Batch

__all__ = ["MOST_RELATIVE_ERROR", "NodeCheck", "check_nodes"]

MOST_RELATIVE_ERROR = 1e-3
_GIVEN = "given."
_INTEGERS = frozenset({"lengths"})


@dataclass(frozen=True, kw_only=True)
class NodeCheck:
    """The operators with 8-bit weights in another way than with the kernels that a session takes here.

    way: "portable" or "stock". nodes, rows: how many operators, and rows of their outputs in all. relative_error: the
    length of the difference over that of an output, of the operator where it is largest, which is `worst`.
    max_abs: the largest difference of all. Both are infinite where a number is not finite.
    """

    way: str
    nodes: int
    rows: int
    relative_error: float
    worst: str
    max_abs: float

    @property
    def passed(self) -> bool:
        return math.isfinite(self.max_abs) and self.relative_error <= MOST_RELATIVE_ERROR

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "passed": self.passed}


def check_nodes(path: str | Path, batches: Sequence[Batch]) -> tuple[NodeCheck, ...]:
    """Run every operator with 8-bit weights of the file on the activations that these batches give it.

    One entry for the portable kernels, where a session takes others here, and one for stock ONNX Runtime.
    """
    model = load_proto(path)
    nodes = [node for node in model.graph.node if _is_int8(node)]
    if not nodes:
        return ()  # its tables alone are 8-bit numbers, looked up by standard operators
    names, rows = {output: node.name for node in nodes for output in node.output}, 0
    with tempfile.TemporaryDirectory(prefix="platon-nodes-") as name:
        alone = _saved(_alone(model, nodes), Path(name) / "alone.onnx")
        recorder = open_session(_saved(_recording(model, nodes), Path(name) / "recording.onnx"))
        ours, others = open_session(alone), _other_sessions(alone)
        apart = {way: {output: Distance() for output in names} for way in others}
        for batch in batches:
            given = _given(recorder, batch)
            expected = _named(ours, given)
            rows += sum(array.size // max(array.shape[-1], 1) for array in expected.values())
            for way, session in others.items():
                for output, array in _named(session, given).items():
                    apart[way][output].add(expected[output], array)
    return tuple(
        NodeCheck(way=way, nodes=len(nodes), rows=rows, **_worst(found, names))
        for way, found in apart.items()
    )


def _other_sessions(path: Path) -> dict[str, Any]:
    """By the name of the way."""
    stock = {"stock": open_session(path, use_library=False)}
    portable = kernel_names()[0]
    if selected_kernel() == portable:
        return stock
    with taking_kernels(portable):
        return {"portable": open_session(path), **stock}


def _worst(apart: Mapping[str, Distance], names: Mapping[str, str]) -> dict[str, Any]:
    worst = max(apart, key=lambda output: apart[output].relative_error)
    return {
        "relative_error": apart[worst].relative_error,
        "worst": names[worst],
        "max_abs": max(distance.max_abs for distance in apart.values()),
    }


def _is_int8(node: onnx.NodeProto) -> bool:
    operator = OPERATORS.get(node.op_type) if node.domain == DOMAIN else None
    return operator is not None and operator.quantized


def _activations(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> dict[str, str]:
    """What the operators read that is no constant: name to the name of that input in the operator's table."""
    constants = {tensor.name for tensor in model.graph.initializer}
    read: dict[str, str] = {}
    for node in nodes:
        operator = OPERATORS[node.op_type]
        named = zip(operator.inputs, node.input, strict=True)
        read |= {
            value: name for name, value in named if name in operator.activations and value not in constants
        }
    return read


def _recording(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """`model`, changed in place: what the operators read are its only outputs."""
    inputs = {value.name for value in model.graph.input}
    del model.graph.output[:]
    model.graph.output.extend(
        _value(name, role) for name, role in _activations(model, nodes).items() if name not in inputs
    )
    return model


def _alone(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """The operators side by side, each on inputs of its own."""
    read = _activations(model, nodes)
    copies = []
    for node in nodes:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        copy.input[:] = [f"{_GIVEN}{name}" if name in read else name for name in node.input]
        copies.append(copy)
    needed = {name for node in copies for name in node.input}
    graph = helper.make_graph(
        copies,
        "alone",
        [_value(f"{_GIVEN}{name}", role) for name, role in read.items()],
        [_value(output, "Y") for node in nodes for output in node.output],
        [tensor for tensor in model.graph.initializer if tensor.name in needed],
    )
    return helper.make_model(
        graph, opset_imports=model.opset_import, functions=model.functions, ir_version=model.ir_version
    )


def _value(name: str, role: str) -> onnx.ValueInfoProto:
    kind = TensorProto.INT64 if role in _INTEGERS else TensorProto.FLOAT
    return helper.make_tensor_value_info(name, kind, None)


def _saved(model: onnx.ModelProto, path: Path) -> Path:
    large = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > INLINE_LIMIT_BYTES
    onnx.save(model, str(path), save_as_external_data=large)
    return path


def _given(recorder: Any, batch: Batch) -> dict[str, np.ndarray]:
    """What the operators read of one batch, under the names of the lonely operators' inputs."""
    feed = {value.name: np.ascontiguousarray(batch[value.name]) for value in recorder.get_inputs()}
    found = {**feed, **_named(recorder, feed)}
    return {f"{_GIVEN}{name}": array for name, array in found.items()}


def _named(session: Any, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    taken = {value.name: feed[value.name] for value in session.get_inputs()}
    names = [value.name for value in session.get_outputs()]
    return dict(zip(names, session.run(names, taken), strict=True))
