"""ONNX graphs, sessions, parity and the native kernels. `open_session` needs only numpy and onnxruntime."""

import importlib
from typing import Any

_HOMES = {
    "export_onnx": "platon_compress.export.torch_export",
    "library_path": "platon_compress.library",
    "open_session": "platon_compress.export.session",
    "session_options": "platon_compress.export.session",
    "verify": "platon_compress.export.parity",
}

__all__ = ["export_onnx", "library_path", "open_session", "session_options", "verify"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
