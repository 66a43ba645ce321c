"""Opening an ONNX file that anybody may have written, for those who look into it before ONNX Runtime does."""

import os

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError, EncodeError

from platon_compress.errors import InputError, first_line

__all__ = ["BROKEN_FILE", "load_ir", "load_proto"]

BROKEN_FILE = (
    DecodeError, EncodeError, OSError, RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, onnx.checker.ValidationError,
)  # fmt: skip
"""What protobuf, onnx and onnx-ir raise for a file that is damaged, or that no exporter writes."""


def load_proto(path: str | os.PathLike[str], *, external_data: bool = True) -> onnx.ModelProto:
    """The model at `path`, with the weights that lie beside it. Raises InputError when it cannot be read."""
    try:
        model = onnx.load(os.fspath(path), load_external_data=external_data)
    except FileNotFoundError as error:
        raise InputError(f"no file {error.filename or path}; export the model first") from error
    except BROKEN_FILE as error:
        raise InputError(
            f"{path} cannot be read as an ONNX model ({first_line(error)}); export the model again"
        ) from error
    _refuse_empty(path, len(model.graph.node))
    return model


def load_ir(path: str | os.PathLike[str]) -> ir.Model:
    """The same as onnx-ir reads it; weights beside the file are read when they are asked for."""
    try:
        model = ir.load(path)
    except BROKEN_FILE as error:
        raise InputError(
            f"{path} is no graph that can be changed ({first_line(error)}); export the model again"
        ) from error
    _refuse_empty(path, len(model.graph))
    return model


def _refuse_empty(path: str | os.PathLike[str], nodes: int) -> None:
    if not nodes:
        raise InputError(f"{path} holds no graph; export the model again")
