"""Writing a graph: names of axes, versions that ONNX Runtime accepts, a check, and an atomic rename."""

from collections.abc import Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as ir_passes

from platon_compress.errors import CheckFailedError, InputError, first_line
from platon_compress.files import write_bytes

__all__ = ["IR_VERSION", "name_axes", "unique_node_names", "write_model"]

# onnx >= 1.22 would write a newer one, which ONNX Runtime refuses. 10 is the first with function overloads.
IR_VERSION = 10

_PROTOBUF_LIMIT_BYTES = 2**31 - 1


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
    """Write `model` under `path` and return its size in bytes. Nothing stays behind when a step fails."""
    unique_node_names(model.graph)
    ir_passes.ClearMetadataAndDocStringPass()(model)
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "platon-compress", ""
    proto = ir.to_proto(model)
    size_bytes = proto.ByteSize()
    if size_bytes > _PROTOBUF_LIMIT_BYTES:
        raise InputError(
            f"the model needs {size_bytes} bytes in one file, protobuf holds 2 GiB; compress it more"
        )
    if check:
        _check(proto, path)
    write_bytes(path, proto.SerializeToString())
    return size_bytes


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


def _check(proto: onnx.ModelProto, path: Path) -> None:
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        cause = first_line(error)
        raise CheckFailedError(
            f"onnx.checker refuses {path.name}: {cause}; report this with the model"
        ) from error
