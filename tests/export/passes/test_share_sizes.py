"""Sizes get one name and are read once; masks and norms of all blocks then share one computation."""

from collections import Counter

import numpy as np
import onnx
import pytest
from graphs import parsed_graph, run_graph

from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.clean import tidy
from platon_compress.export.passes.pass_sizes import pass_sizes
from platon_compress.export.passes.share_sizes import ShareSizes
from platon_compress.testing import tiny_transformer

_TWICE = (
    "zero = Constant <value = int64 {0}> ()\n"
    "s = Shape (x)\n b = Gather (s, zero)\n r = Relu (x)\n t = Shape (r)\n c = Gather (t, zero)\n"
    "u = Shape (z)\n d = Gather (u, zero)\n e = Add (b, c)\n y = Add (e, d)\n"
)


def _model(body, inputs="float[B, T, 8] x, float[N, T, 8] z", output="int64 y"):
    return clean(parsed_graph(body, inputs, output))


def test_equal_names_are_read_once_and_other_names_are_left_alone():
    model = _model(_TWICE)
    # The second [B, T, 8] and its B; N has another name.
    assert apply_rule(ShareSizes(), model.graph).applied == 2
    tidy(model)
    assert Counter(node.op_type for node in model.graph)["Gather"] == 2
    feed = {"x": np.zeros((3, 2, 8), np.float32), "z": np.zeros((5, 2, 8), np.float32)}
    assert run_graph(model, feed)[0] == 3 + 3 + 5


def test_a_sum_of_two_names_gets_neither():
    model = _model("a = Add (x, z)\n y = Relu (a)\n", output="float[P, Q, 8] y")
    pass_sizes(model.graph)
    sizes = next(node for node in model.graph if node.op_type == "Add").outputs[0].shape
    assert sizes[0].value not in ("B", "N")


def test_operators_on_single_tokens_pass_the_names_on():
    body = "w = Constant <value = float[8, 8] {" + ", ".join("1" * 64) + "}> ()\n"
    body += "a = MatMul (x, w)\n b = Gelu (a)\n c = Add (b, x)\n y = Sub (c, x)\n"
    model = clean(parsed_graph(body, "float[B, T, 8] x", "float[P, Q, R] y", opset=20))
    for node in model.graph:
        node.outputs[0].shape = None
    assert pass_sizes(model.graph) == 3
    *inner, last = model.graph
    assert all(str(node.outputs[0].shape) == "[B,T,8]" for node in inner)
    assert last.outputs[0].shape is None  # an output of the graph keeps the names that it was given


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta", "deberta-v3"])
def test_every_block_shares_mask_and_norm_vectors(family, tmp_path):
    model, inputs = tiny_transformer(family)
    nodes = onnx.load(export_onnx(model, tmp_path / "m.onnx", inputs, ExportConfig(opset=23)).path).graph.node
    norms = [node for node in nodes if node.op_type == "InstanceNormalization"]
    masks = [node.input[3] for node in nodes if node.op_type == "Attention"]
    assert (len(norms), len(masks)) == (5, 2)
    assert len({tuple(node.input[1:]) for node in norms[1:]}) == 1
    assert len(set(masks)) == (2 if family.startswith("deberta") else 1)
    products = [node for node in nodes if node.op_type == "MatMul"]
    assert len(products) == (16 if family.startswith("deberta") else 12)
