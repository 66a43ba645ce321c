"""ONNX graphs, sessions, parity and the native kernels. `open_session` needs only numpy and onnxruntime."""

from platon_compress.lazy import lazy_names

_HOMES = {
    "export_onnx": "platon_compress.export.torch_export",
    "library_path": "platon_compress.library",
    "open_session": "platon_compress.export.session",
    "session_options": "platon_compress.export.session",
    "verify": "platon_compress.export.parity",
}

__all__ = ["export_onnx", "library_path", "open_session", "session_options", "verify"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
