"""What the tests of graph passes share. Not part of the public surface."""

from typing import Any

import onnx
import onnx_ir as ir

from platon_compress.export.functions import attach_functions
from platon_compress.export.model_file import unique_node_names
from platon_compress.export.session import session_options

__all__ = ["run_sparse_graph"]


def run_sparse_graph(model: ir.Model, x: Any, *, use_library: bool) -> Any:
    """First output of a graph for its input `x`, checked by onnx, with or without our library."""
    import onnxruntime as ort

    attach_functions(model)
    unique_node_names(model.graph)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = session_options() if use_library else ort.SessionOptions()
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]
