"""Graphs of a few nodes, run in stock ONNX Runtime."""

import re

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort

from platon_compress.export.model_file import unique_node_names
from platon_compress.export.passes import clean


def parsed_graph(body, inputs, output, constants=None, opset=18):
    """Nodes in ONNX's text form; inputs and output as "float[B, T, 8] x"; of the constants those that the body names."""
    text = f'<ir_version: 10, opset_import: ["" : {opset}]> g ({inputs}) => ({output}) {{\n{body}}}'
    proto = onnx.parser.parse_model(text)
    words = set(re.findall(r"\w+", body))
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name)
        for name, value in (constants or {}).items()
        if name in words
    )
    return ir.from_proto(proto)


def run_graph(model, feed):
    """All outputs of a graph of standard operators, checked by onnx."""
    return run_proto(checked_proto(model), feed)


def checked_proto(model):
    """As it would be written."""
    unique_node_names(model.graph)
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run_proto(proto, feed):
    """All outputs."""
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)


def lookup_graph(body, rows, output="float[B, T, 10] y", extra=""):
    """Nodes over the inputs `ids`, and `extra` ones, and a random table `words` [rows, 10]; the table."""
    table = np.random.default_rng(0).standard_normal((rows, 10)).astype(np.float32)
    return clean(parsed_graph(body, f"int64[B, T] ids{extra}", output, {"words": table})), table


def array_bytes(model):
    """Of every constant, by name."""
    return {value.name: value.const_value.nbytes for value in model.graph.initializers.values()}
