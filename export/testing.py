"""What the tests of graph passes and the self-test share. Not part of the public surface."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from platon_compress.export.functions import attach_functions
from platon_compress.export.model_file import unique_node_names
from platon_compress.export.passes import clean, swap_sparse_weights
from platon_compress.export.session import session_options

__all__ = ["run_sparse_graph", "sparse_graph"]


def sparse_graph(
    body: str, inputs: str, output: str, constants: Mapping[str, Any], sparse: str = "", opset: int = 18
) -> ir.Model:
    """A cleaned graph of ONNX text: `body` from `inputs` to `output`, with those of `constants` that it reads.

    The constants named by a letter of `sparse` are weights [in, out] that become sparse layers.
    """
    from platon_compress.formats.csr import CsrWeight

    header = f'<ir_version: 10, opset_import: ["" : {opset}]>'
    proto = onnx.parser.parse_model(f"{header} g ({inputs}) => ({output}) {{\n{body}\n}}")
    read = {name for node in proto.graph.node for name in node.input}
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(np.asarray(v), n) for n, v in constants.items() if n in read
    )
    model = clean(ir.from_proto(proto))
    csr = {f"{n}.weight": CsrWeight.from_dense(constants[n].T) for n in sparse if n in read}
    if csr:
        swap_sparse_weights(model, csr)
    return model


def run_sparse_graph(model: ir.Model, x: Any, *, use_library: bool, **others: Any) -> Any:
    """First output of a graph for its input `x` and others, checked by onnx, with or without our library."""
    import onnxruntime as ort

    attach_functions(model)
    unique_node_names(model.graph)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = session_options() if use_library else ort.SessionOptions()
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x} | others)[0]
