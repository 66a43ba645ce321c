"""What a model file weighs: bytes on disk, parameters, non-zeros, encoder and embeddings apart.

Everything is read from the ONNX file itself, so files of any origin can be compared:

1. A parameter is an element of a float tensor of at least one dimension, or of an 8- or 4-bit quantised
   weight. Integer shape constants, scalar constants, scales and zero points are not parameters.
2. A sparse weight (of a node whose type `operators.OPERATORS` knows) counts as many parameters as the matrix it
   stands for; its non-zeros are the stored values that are not zero.
3. A quantised weight is zero where it equals its zero point.
4. Embeddings are tensors that a Gather looks up (2-D or more) or whose name holds "embedding"; all other
   tensors, index arrays of sparse linears included, are counted as encoder (a task head is part of it).
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import MISFITS, InputError, first_line
from platon_compress.export.gaps import decode_gaps, unpack_values
from platon_compress.export.operators import DOMAIN, OPERATORS

__all__ = ["ModelSize", "measure_size", "model_files"]

_SMALL_CONSTANT = 1024  # elements; smaller tensors in Constant nodes are shapes and scalars, not weights


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Sizes of one ONNX model, its external data files included.

    encoder_bytes + embedding_bytes = bytes of all stored tensors; sparse_index_bytes is the part of
    encoder_bytes that holds positions and not values.
    """

    disk_bytes: int
    parameters: int
    nonzeros: int
    encoder_bytes: int
    embedding_bytes: int
    sparse_index_bytes: int

    def to_dict(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, int]) -> "ModelSize":
        """Keys that are no longer measured (zipped_bytes) are left out."""
        return cls(**{entry.name: data[entry.name] for entry in fields(cls)})


@dataclass(kw_only=True)
class _Count:
    parameters: int = 0
    nonzeros: int = 0
    encoder_bytes: int = 0
    embedding_bytes: int = 0
    sparse_index_bytes: int = 0


@dataclass(frozen=True)
class _Sparse:
    """One sparse linear: the names of its initializers and the size of the matrix they stand for.

    others: what says where the values belong. scales: float arrays beside them, which are no parameters.
    gap_bits: of values that are packed, the width of the gaps `others` begins with; else None.
    """

    values: str
    others: tuple[str, ...]
    scales: tuple[str, ...]
    elements: int
    gap_bits: int | None


def measure_size(path: str | Path, model: Any = None) -> ModelSize:
    """Sizes of the model at `path`, read already or not. Raises InputError for a file that is not a whole ONNX model."""
    from platon_compress.export.reading import load_proto

    path = Path(path)
    model = load_proto(path) if model is None else model
    count = _Count()
    try:
        _count_graph(model.graph, count)
    except MISFITS as error:
        raise InputError(
            f"{path} holds a broken tensor ({first_line(error)}); export the model again"
        ) from error
    files = model_files(path)
    return ModelSize(
        disk_bytes=sum(file.stat().st_size for file in files),
        **asdict(count),
    )


def model_files(path: str | Path) -> tuple[Path, ...]:
    """The model file and the external data files it names, each once."""
    from onnx.external_data_helper import uses_external_data

    from platon_compress.export.reading import load_proto

    path = Path(path)
    model = load_proto(path, external_data=False)
    tensors = [tensor for graph in _graphs(model.graph) for tensor in graph.initializer]
    entries = (entry for tensor in tensors if uses_external_data(tensor) for entry in tensor.external_data)
    names = dict.fromkeys(entry.value for entry in entries if entry.key == "location")
    return (path, *(path.parent / name for name in names))


def _count_graph(root: Any, count: _Count) -> None:
    for graph in _graphs(root):
        tensors = dict(_tensors(graph))
        sparse = list(_sparse_linears(graph, tensors))
        looked_up = {node.input[0] for node in graph.node if node.op_type == "Gather" and node.input}
        for linear in {linear.values: linear for linear in sparse}.values():
            _count_sparse(linear, tensors, count)
        indexed = {name for linear in sparse for name in (linear.values, *linear.others, *linear.scales)}
        for name in tensors.keys() - indexed:
            _count_tensor(name, tensors, name in looked_up, count)
        for stored in graph.sparse_initializer:
            _count_stored_sparse(stored, count)


def _count_sparse(linear: _Sparse, tensors: Mapping[str, Any], count: _Count) -> None:
    count.parameters += linear.elements
    count.nonzeros += int(np.count_nonzero(_values(linear, tensors)))
    index_bytes = sum(_stored_bytes(tensors[name]) for name in linear.others)
    count.sparse_index_bytes += index_bytes
    rest = (linear.values, *linear.scales)
    count.encoder_bytes += index_bytes + sum(_stored_bytes(tensors[name]) for name in rest)


def _values(linear: _Sparse, tensors: Mapping[str, Any]) -> np.ndarray:
    """The stored values as numbers, those that are packed unpacked."""
    stored = _array(tensors[linear.values])
    if linear.gap_bits is None:
        return stored
    gaps = _array(tensors[linear.others[0]])
    return unpack_values(stored, decode_gaps(gaps, linear.gap_bits).size)


def _count_tensor(name: str, tensors: Mapping[str, Any], looked_up: bool, count: _Count) -> None:
    tensor = tensors[name]
    stored = _stored_bytes(tensor)
    if "embedding" in name.lower() or (looked_up and len(tensor.dims) >= 2):
        count.embedding_bytes += stored
    else:
        count.encoder_bytes += stored
    if _is_parameter(name, tensor, tensors):
        values = _array(tensor)
        count.parameters += values.size
        count.nonzeros += int(np.count_nonzero(values != _zero_point(name, tensors)))


def _count_stored_sparse(stored: Any, count: _Count) -> None:
    """A standard ONNX sparse_initializer: values and int64 positions."""
    index_bytes = _stored_bytes(stored.indices)
    count.parameters += int(np.prod(stored.dims, dtype=np.int64))
    count.nonzeros += int(np.count_nonzero(_array(stored.values)))
    count.sparse_index_bytes += index_bytes
    count.encoder_bytes += index_bytes + _stored_bytes(stored.values)


def _sparse_linears(graph: Any, tensors: Mapping[str, Any]) -> Iterator[_Sparse]:
    for node in graph.node:
        operator = OPERATORS.get(node.op_type) if node.domain == DOMAIN else None
        if operator is None:
            continue
        sizes = {attribute.name: attribute.i for attribute in node.attribute}
        for weight in operator.weights:
            places = [operator.inputs.index(name) for name in weight.arrays(operator.encoding)]
            stored = [node.input[place] for place in places]
            if all(name in tensors for name in stored):
                scales = tuple(name for name in stored[1:] if _is_float(tensors[name]))
                indices = tuple(name for name in stored[1:] if name not in scales)
                bits = [sizes[name] for name in weight.attributes(operator.encoding)]
                yield _Sparse(stored[0], indices, scales, weight.elements(sizes), bits[0] if bits else None)


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and every graph nested in its nodes (If, Loop, Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for nested in (attribute.g, *attribute.graphs):
                if nested.node or nested.initializer:
                    yield from _graphs(nested)


def _tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant" and node.output:
            for attribute in node.attribute:
                if np.prod(attribute.t.dims or [0], dtype=np.int64) >= _SMALL_CONSTANT:
                    yield node.output[0], attribute.t


def _is_float(tensor: Any) -> bool:
    from onnx import TensorProto

    return tensor.data_type in {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
    }


def _is_parameter(name: str, tensor: Any, tensors: Mapping[str, Any]) -> bool:
    from onnx import TensorProto

    if _is_float(tensor):
        is_scale = name.endswith("_scale") and name.removesuffix("_scale") + "_quantized" in tensors
        return len(tensor.dims) >= 1 and not is_scale
    small = {TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4}
    return tensor.data_type in small and len(tensor.dims) >= 2


def _zero_point(name: str, tensors: Mapping[str, Any]) -> int:
    tensor = tensors.get(name.removesuffix("_quantized") + "_zero_point")
    if tensor is None or not name.endswith("_quantized"):
        return 0
    values = np.unique(_array(tensor))
    return int(values[0]) if values.size == 1 else 0


def _array(tensor: Any) -> np.ndarray:
    from onnx import numpy_helper

    return numpy_helper.to_array(tensor)


def _stored_bytes(tensor: Any) -> int:
    return len(tensor.raw_data) or int(_array(tensor).nbytes)
