"""Writing a graph: names of axes, versions that ONNX Runtime accepts, a check, and an atomic rename."""

import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as ir_passes

from platon_compress.errors import CheckFailedError, first_line
from platon_compress.export.reading import BROKEN_FILE
from platon_compress.files import new_folder, remove_folder, write_bytes

__all__ = [
    "INLINE_LIMIT_BYTES",
    "IR_VERSION",
    "name_axes",
    "unique_node_names",
    "unique_value_names",
    "weight_bytes",
    "write_model",
]

# onnx >= 1.22 would write a newer one, which ONNX Runtime refuses.
IR_VERSION = 10

# What one file holds (protobuf: 2 GiB, the graph included). More weights go into a file beside it.
INLINE_LIMIT_BYTES = 2**31 - 2**26


def name_axes(model: ir.Model, axes: Mapping[str, Mapping[int, str]]) -> None:
    """Give the dynamic axes of inputs and outputs their names, everywhere an exporter's own symbol stands."""
    renamed: dict[str | None, str] = {}
    for value in (*model.graph.inputs, *model.graph.outputs):
        for axis, name in axes.get(value.name or "", {}).items():
            size = None if value.shape is None else value.shape[axis]
            if isinstance(size, ir.SymbolicDim):
                renamed[size.value] = name
                value.shape = _renamed(value.shape, {axis: name})
    for node in model.graph:
        for value in node.outputs:
            symbols = {a: d.value for a, d in enumerate(value.shape or ()) if isinstance(d, ir.SymbolicDim)}
            value.shape = _renamed(value.shape, {a: renamed[s] for a, s in symbols.items() if s in renamed})


def _renamed(shape: ir.Shape | None, names: Mapping[int, str]) -> ir.Shape | None:
    """A copy of `shape` with some axes named; shapes of traced values are frozen."""
    if shape is None or not names:
        return shape
    return ir.Shape([names.get(axis, size) for axis, size in enumerate(shape)])


def write_model(model: ir.Model, path: Path, *, check: bool = True) -> int:
    """Write `model` under `path` and return its size in bytes. Nothing stays behind when a step fails.

    Weights of more than 2 GiB are external data, in a file beside it that the model names.
    """
    unique_node_names(model.graph)
    unique_value_names(model.graph)
    ir_passes.ClearMetadataAndDocStringPass()(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "platon-compress", ""
    if weight_bytes(model) > INLINE_LIMIT_BYTES:
        return _write_with_data(model, path, check)
    content = ir.to_proto(model).SerializeToString()
    if check:
        _check(content, path)
    write_bytes(path, content)
    return len(content)


def weight_bytes(model: ir.Model) -> int:
    """What the constants of the main graph take."""
    tensors = (value.const_value for value in model.graph.initializers.values())
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)


def _write_with_data(model: ir.Model, path: Path, check: bool) -> int:
    """The data file first, under a new name, so that an older model keeps its own until the new one is there."""
    before = _data_files(path)
    data = f"{path.stem}-{secrets.token_hex(4)}.data"
    with new_folder(path.with_name(f"{path.name}.parts")) as parts:
        ir.save(model, parts / path.name, external_data=data)
        if check:
            _check(parts / path.name, path)
    parts = path.with_name(f"{path.name}.parts")
    sizes = [(parts / name).stat().st_size for name in (data, path.name)]
    for name in (data, path.name):
        (parts / name).replace(path.with_name(name))
    remove_folder(parts)
    for old in before:
        old.unlink(missing_ok=True)
    return sum(sizes)


def _data_files(path: Path) -> list[Path]:
    """Files that an older model under `path` keeps its weights in, of the names that this module gives."""
    if not path.is_file():
        return []
    try:
        proto = onnx.load(path, load_external_data=False)
    except BROKEN_FILE:
        return []  # it is replaced
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    names = {entry.value for entry in entries if entry.key == "location"}
    own = re.compile(re.escape(path.stem) + r"-[0-9a-f]{8}\.data")
    return [path.with_name(name) for name in names if own.fullmatch(name)]


def unique_node_names(graph: ir.Graph) -> None:
    """ONNX Runtime refuses two nodes of one name: the second becomes name_1, the third name_2."""
    taken: set[str] = set()
    for node in graph:
        base = name = node.name or f"/{node.op_type}"
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        node.name = name


def unique_value_names(graph: ir.Graph) -> None:
    """One name, one value: the exporters' names are theirs, and a constant of a pass may have been given one of them.

    Inputs and outputs of the graph keep their names.
    """
    kept = (*graph.inputs, *graph.outputs)
    taken = {value.name for value in kept}
    inner = (*graph.initializers.values(), *(value for node in graph for value in node.outputs))
    for value in inner:
        base = name = value.name
        if not name or any(value is other for other in kept):
            continue
        number = 0
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        if name != base:
            value.name = name


def _check(model: bytes | Path, path: Path) -> None:
    """Of a model in memory, or of a file with data beside it."""
    try:
        onnx.checker.check_model(os.fspath(model) if isinstance(model, Path) else model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = first_line(error)
        raise CheckFailedError(
            f"onnx.checker refuses {path.name}: {cause}; report this with the model"
        ) from error
