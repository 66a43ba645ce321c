"""What holds no weight leaves the graph; the numbers stay."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from graphs import parsed_graph, run_graph
from thinned import thinned

from platon_compress.baking import bake
from platon_compress.conversion import convert
from platon_compress.export import export_onnx
from platon_compress.export.config import ExportConfig
from platon_compress.export.passes import clean
from platon_compress.export.passes._rule import apply_rule
from platon_compress.export.passes.drop_empty import DropEmpty
from platon_compress.planning import Form, PlanConfig, plan
from platon_compress.selection import select
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

_CONSTANTS = {
    "w": np.zeros((8, 8), np.float32),
    "c": np.arange(8, dtype=np.float32),
    "s": np.arange(8, dtype=np.float32)[::-1] - 3,
    "m": np.eye(8, dtype=np.float32),
}


def _model(body, inputs="float[B, T, 8] x"):
    return clean(parsed_graph(body, inputs, "float[B, T, 8] y", _CONSTANTS))


@pytest.mark.parametrize(
    ("body", "left"),
    [
        (
            "h = Tanh (x)\n p = MatMul (h, w)\n q = Add (c, p)\n z = Add (q, x)\n y = Relu (z)\n",
            ["Add", "Relu"],
        ),
        ("h = Tanh (x)\n p = MatMul (h, w)\n q = Add (p, c)\n t = Mul (s, q)\n y = Add (x, t)\n", ["Add"]),
        ("h = Tanh (x)\n p = MatMul (h, w)\n z = Add (p, x)\n y = Relu (z)\n", ["Relu"]),
        ("h = Tanh (x)\n p = MatMul (h, w)\n y = Add (p, x)\n", ["Identity"]),
    ],
    ids=["bias", "layer_scale", "no_bias", "at_the_end"],
)
def test_an_empty_layer_becomes_its_constant(body, left):
    x = np.random.default_rng(0).standard_normal((2, 3, 8), dtype=np.float32)
    model = _model(body)
    before = run_graph(model, {"x": x})[0]
    report = apply_rule(DropEmpty(), model.graph)
    assert (report.applied, report.refusals) == (1, ())
    assert [node.op_type for node in model.graph] == left
    np.testing.assert_allclose(run_graph(model, {"x": x})[0], before, atol=1e-6)


@pytest.mark.parametrize(
    ("body", "inputs"),
    [
        ("p = MatMul (x, w)\n y = Add (p, c)\n", "float[B, T, 8] x"),
        ("p = MatMul (x, w)\n y = Add (p, z)\n", "float[B, T, 8] x, float[1, T, 8] z"),
        ("p = MatMul (x, w)\n q = Add (p, x)\n r = Relu (p)\n y = Add (q, r)\n", "float[B, T, 8] x"),
    ],
    ids=["nothing_follows", "the_other_term_is_smaller", "read_twice"],
)
def test_an_empty_layer_that_alone_has_the_shape_stays(body, inputs):
    model = _model(body, inputs)
    report = apply_rule(DropEmpty(), model.graph)
    assert report.applied == 0
    assert "no residual sum follows" in report.refusals[0][1]


def test_other_products_stay():
    model = _model("p = MatMul (x, m)\n y = Add (p, x)\n")
    report = apply_rule(DropEmpty(), model.graph)
    assert (report.applied, report.refusals) == (0, ())


@pytest.mark.parametrize(
    "family", thinned(["bert", "vit", "dinov2", "distilbert", "modernbert", "mpnet"], every=3)
)
@pytest.mark.parametrize("density", [1.0, 0.1])
def test_a_dropped_attention_and_feed_forward_leave_the_file(family, density, tmp_path):
    model, inputs = tiny_transformer(family)
    generator = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(p.shape, generator=generator) < density for n, p in select(model).items()}
    couplings = find_couplings(model)
    for coupling in (couplings[0], couplings[-1]):
        masks[f"{coupling.consumer}.weight"][:] = False
    baked = bake(model, masks)
    made = plan(baked, PlanConfig(tokens=12, threads=1, force=Form.CSR if density < 1 else None))
    assert {layer.form for layer in made.layers if layer.group == couplings[0].name} <= {
        Form.DENSE,
        Form.STRUCTURED,
    }
    with torch.no_grad():
        wanted = baked.model(**inputs)[0].numpy()
    result = export_onnx(convert(baked, made), tmp_path / "m.onnx", inputs, ExportConfig(opset=23))
    assert dict(result.passes)["drop_empty"] == 2
    assert not result.skipped
    nodes = [node.op_type for node in onnx.load(result.path).graph.node]
    if density == 1:
        dense = _dense(tiny_transformer(family)[0], inputs, tmp_path)
        whole = [node.op_type for node in onnx.load(dense).graph.node]
        # ModernBERT: one of Q, K and V together; transformers 4.57 computes angles for each attention of its own
        gone = {4} if couplings[0].stacks == 1 else {2, 3}
        assert whole.count("MatMul") - nodes.count("MatMul") - 2 in gone
    session = ort.InferenceSession(str(result.path), _options(density), providers=["CPUExecutionProvider"])
    got = session.run(None, {name: value.numpy() for name, value in inputs.items()})[0]
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def _options(density):
    from platon_compress.export import session_options

    return ort.SessionOptions() if density == 1 else session_options(threads=1)


def _dense(model, inputs, folder):
    return export_onnx(model, folder / "dense.onnx", inputs, ExportConfig(opset=23)).path
