"""Exported graphs compute what the torch model computes, dense and sparse, in stock ONNX Runtime and with ours."""

import warnings
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from thinned import thinned

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.export import export_onnx, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.export.operators import OPERATORS
from platon_compress.formats.csr import CsrWeight
from platon_compress.measure.size import measure_size, model_files
from platon_compress.structure import find_blocks
from platon_compress.testing import tiny_transformer

_FAMILIES = [
    "bert",
    "roberta",
    "distilbert",
    "deberta-v2",
    "deberta-v3",
    "vit",
    "deit",
    "dinov2",
    "modernbert",
]


def _sparsified(model, density=0.2):
    """Random zeros in every linear of the blocks, and their CSR arrays, as convert() would give them."""
    blocks = find_blocks(model)
    generator = torch.Generator().manual_seed(1)
    csr = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name.startswith(blocks):
            keep = torch.rand(module.weight.shape, generator=generator) < density
            module.weight.data = torch.where(keep, module.weight.data, 0.0)
            csr[f"{name}.weight"] = CsrWeight.from_dense(module.weight.detach().numpy())
    return SimpleNamespace(model=model, csr=csr, plan=None)


def _lengths(inputs):
    """Other batches of the same kind: one example, more examples, other lengths."""
    if "pixel_values" in inputs:
        return [{"pixel_values": torch.randn(n, *inputs["pixel_values"].shape[1:])} for n in (1, 3)]
    batches = []
    for rows, tokens in ((1, 5), (3, 9), (2, 30)):
        mask = torch.ones(rows, tokens, dtype=torch.long)
        mask[0, tokens - 2 :] = 0
        ids = torch.randint(3, 80, (rows, tokens)).masked_fill(mask == 0, 1)
        batches.append({"input_ids": ids, "attention_mask": mask})
    return batches


def _worst(model, session, batches):
    worst = 0.0
    for batch in batches:
        with torch.no_grad():
            wanted = model(**batch, return_dict=True)
        feed = {value.name: batch[value.name].numpy() for value in session.get_inputs()}
        for value, got in zip(session.get_outputs(), session.run(None, feed), strict=True):
            worst = max(worst, float(np.abs(got - wanted[value.name].numpy()).max()))
    return worst


def _sparse_rows(path):
    """Output features of all sparse weights together: joining layers does not change them."""
    nodes = [node for node in onnx.load(path).graph.node if node.op_type in OPERATORS]
    sizes = [{a.name: a.i for a in node.attribute} for node in nodes]
    weights = [(OPERATORS[node.op_type].weights, size) for node, size in zip(nodes, sizes, strict=True)]
    return sum(weight.rows[0] * size[weight.rows[1]] for both, size in weights for weight in both)


def _opset(path):
    return next(entry.version for entry in onnx.load(path).opset_import if not entry.domain)


def _operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize("family", thinned(_FAMILIES, every=3))
def test_dense_and_sparse_graphs_match_torch(family, tmp_path):
    model, inputs = tiny_transformer(family)
    compressed = _sparsified(model)
    dense = export_onnx(model, tmp_path / "pruned.onnx", inputs)
    sparse = export_onnx(compressed, tmp_path / "compressed.onnx", inputs)
    batches = _lengths(inputs)
    assert _worst(model, open_session(dense.path, use_library=False), batches) < 2e-5
    assert _worst(model, open_session(sparse.path, use_library=False), batches) < 2e-5
    assert _worst(model, open_session(sparse.path), batches) < 2e-5
    # DeBERTa-v2's own position projections are constants of the graph by then.
    assert all(".pos_" in name for name, _ in sparse.skipped)
    ours = [name for name in _operators(sparse.path) if name in OPERATORS and OPERATORS[name].weights]
    assert len(ours) == len(sparse.sparse_nodes)
    left_out = {name for name, _ in sparse.skipped}
    found = [w for name, w in compressed.csr.items() if name not in left_out]
    assert _sparse_rows(sparse.path) >= sum(w.out_features for w in found)
    assert sparse.size_bytes == sparse.path.stat().st_size < dense.size_bytes
    for result in (dense, sparse):
        assert result.opset == _opset(result.path) == 18
    if (
        family != "modernbert"
    ):  # whose queries are rotated: only the standard Attention of opset 23 takes them
        assert "Softmax" not in _operators(sparse.path)
    newer = export_onnx(model, tmp_path / "newer.onnx", inputs, ExportConfig(opset=23))
    assert (newer.opset, _opset(newer.path), _operators(newer.path).count("Attention")) == (23, 23, 2)
    assert "Softmax" not in _operators(newer.path)
    assert _worst(model, open_session(newer.path, use_library=False), batches) < 2e-5


@pytest.mark.parametrize("family", ["bert", "vit"])
@pytest.mark.dynamo
def test_dynamo_exporter(family, tmp_path):
    model, inputs = tiny_transformer(family)
    compressed = _sparsified(model)
    config = ExportConfig(exporter="dynamo")
    result = export_onnx(compressed, tmp_path / "compressed.onnx", inputs, config)
    assert [name.rpartition("/")[2] for name in result.sparse_nodes] == ["SelfAttention", "FeedForward"] * 2
    paths = {
        name.rpartition("/")[0] for name in result.sparse_nodes
    }  # each node is named after its last layer
    assert paths <= {f"/{name[:-7].replace('.', '/')}" for name in compressed.csr}
    assert _sparse_rows(result.path) == sum(w.out_features for w in compressed.csr.values())
    assert _worst(model, open_session(result.path), _lengths(inputs)) < 2e-5


def test_graph_passes_can_be_switched_off(tmp_path):
    model, inputs = tiny_transformer("vit")
    plain = export_onnx(model, tmp_path / "plain.onnx", inputs, ExportConfig(graph_passes=False))
    assert dict(plain.passes) == {"spell_gelu": 0}
    assert plain.opset == 18
    some = export_onnx(model, tmp_path / "some.onnx", inputs, ExportConfig(skip_passes=("fuse_attention",)))
    assert "fuse_attention" not in dict(some.passes)
    assert _operators(some.path).count("InstanceNormalization") == 5
    for result in (plain, some):
        assert _worst(model, open_session(result.path, use_library=False), _lengths(inputs)) < 2e-5


def test_sdpa_models_that_cannot_switch_are_exported_too(tmp_path):
    eager, inputs = tiny_transformer("bert")
    eager.config._attn_implementation = "sdpa"
    model = type(eager)(eager.config).eval()
    model.load_state_dict(eager.state_dict())
    result = export_onnx(model, tmp_path / "m.onnx", inputs)
    assert _worst(model, open_session(result.path, use_library=False), _lengths(inputs)) < 2e-5


def test_result_names_and_file_properties(tmp_path):
    model, inputs = tiny_transformer("bert")
    result = export_onnx(_sparsified(model), tmp_path / "sub" / "compressed.onnx", inputs)
    proto = onnx.load(result.path)
    onnx.checker.check_model(proto, full_check=True)
    assert proto.ir_version == 10
    assert {entry.domain: entry.version for entry in proto.opset_import}[""] == result.opset == 18
    assert not any(node.overload for node in proto.graph.node)
    assert not any(function.overload for function in proto.functions)
    assert {node.domain for node in proto.graph.node} == {"", "platon"}
    assert result.inputs == ("input_ids", "attention_mask")
    assert result.outputs == ("logits",)
    dims = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.input
    }
    assert dims == {
        "input_ids": ["batch_size", "sequence_length"],
        "attention_mask": ["batch_size", "sequence_length"],
    }
    assert not any(entry.name.endswith(("MatMul_1", ".tmp")) for entry in tmp_path.rglob("*"))
    assert result.to_dict()["path"] == str(result.path)
    known = {value.name for value in proto.graph.value_info}
    assert all(n.output[0] in known for n in proto.graph.node if n.op_type in OPERATORS)


def test_sequence_outputs_keep_their_axis(tmp_path):
    model, inputs = tiny_transformer("bert")
    result = export_onnx(model.bert, tmp_path / "m.onnx", inputs)
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in onnx.load(result.path).graph.output
    }
    assert shapes == {
        "last_hidden_state": ["batch_size", "sequence_length", 32],
        "pooler_output": ["batch_size", 32],
    }


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh", "relu", "silu"])
def test_activations_are_folded_where_the_operator_has_them(activation, tmp_path):
    model, inputs = tiny_transformer("bert")
    model.config.hidden_act = activation
    state = model.state_dict()
    model = type(model)(model.config).eval()
    model.load_state_dict(state)
    result = export_onnx(_sparsified(model), tmp_path / "m.onnx", inputs)
    ours = [name for name in _operators(result.path) if name in OPERATORS]
    blocks = {part for name in ours if name.startswith("PlatonFeedForward") for part in OPERATORS[name].parts}
    expected = {"gelu": "gelu", "gelu_pytorch_tanh": "gelu_tanh", "relu": "relu", "silu": None}[activation]
    assert blocks == ({expected, "residual", "norm"} if expected else set())
    assert _worst(model, open_session(result.path), _lengths(inputs)) < 2e-5
    assert _worst(model, open_session(result.path, use_library=False), _lengths(inputs)) < 2e-5


def test_weight_without_non_zeros(tmp_path):
    model, inputs = tiny_transformer("vit")
    compressed = _sparsified(model, density=0.0)
    result = export_onnx(compressed, tmp_path / "m.onnx", inputs)
    assert _sparse_rows(result.path) == sum(w.out_features for w in compressed.csr.values())
    assert _worst(model, open_session(result.path, use_library=False), _lengths(inputs)) < 2e-5


class _Wide(torch.nn.Module):
    """More than 65536 input features: columns need 32 bits."""

    def __init__(self):
        super().__init__()
        self.proj = torch.nn.Linear(70000, 3, bias=False)

    def forward(self, features, return_dict=True):
        return {"logits": self.proj(features)}


def test_wide_weights_use_32_bit_columns(tmp_path):
    model = _Wide()
    model.proj.weight.data *= torch.rand(3, 70000) < 0.001
    csr = {"proj.weight": CsrWeight.from_dense(model.proj.weight.detach().numpy())}
    features = torch.randn(2, 4, 70000)
    compressed = SimpleNamespace(model=model, csr=csr, plan=None)
    result = export_onnx(compressed, tmp_path / "m.onnx", {"features": features})
    initializers = {t.name: t for t in onnx.load(result.path).graph.initializer}
    assert initializers["proj.weight.columns"].data_type == onnx.TensorProto.INT32
    got = open_session(result.path, use_library=False).run(None, {"features": features.numpy()})[0]
    np.testing.assert_allclose(got, model(features)["logits"].detach().numpy(), atol=1e-5)


def test_two_dimensional_layers_become_sparse_too(tmp_path):
    model, inputs = tiny_transformer("bert")
    weight = model.classifier.weight
    weight.data *= torch.rand(weight.shape) < 0.5
    csr = {"classifier.weight": CsrWeight.from_dense(weight.detach().numpy())}
    compressed = SimpleNamespace(model=model, csr=csr, plan=None)
    result = export_onnx(compressed, tmp_path / "m.onnx", inputs)
    assert result.sparse_nodes == ("/classifier/SparseLinear",)
    assert _worst(model, open_session(result.path), _lengths(inputs)) < 2e-5


def test_weights_above_the_limit_of_one_file_go_beside_it(tmp_path, monkeypatch):
    model, inputs = tiny_transformer("bert")
    compressed, batches = _sparsified(model), _lengths(inputs)
    whole = export_onnx(compressed, tmp_path / "whole.onnx", inputs)
    monkeypatch.setattr("platon_compress.export.model_file.INLINE_LIMIT_BYTES", 1000)
    for _ in range(2):  # the second one takes the place of the first, data included
        result = export_onnx(compressed, tmp_path / "parts" / "m.onnx", inputs)
        files = sorted((tmp_path / "parts").iterdir())
        assert [path.suffix for path in files] == [".data", ".onnx"]
        assert result.size_bytes == sum(path.stat().st_size for path in files)
        assert files[0].stat().st_size > files[1].stat().st_size
    assert set(model_files(result.path)) == set(files)
    assert measure_size(result.path).parameters == measure_size(whole.path).parameters
    for use_library in (True, False):
        assert _worst(model, open_session(result.path, use_library=use_library), batches) < 2e-5


def test_weights_that_the_graph_does_not_use_are_reported(tmp_path):
    model, inputs = tiny_transformer("vit")
    compressed = _sparsified(model)
    compressed.csr["ghost.weight"] = CsrWeight.from_dense(np.eye(5, dtype=np.float32))
    result = export_onnx(compressed, tmp_path / "m.onnx", inputs)
    assert result.skipped == (
        ("ghost.weight", "no MatMul or Gemm of the exported graph multiplies by this weight"),
    )


def test_projections_of_positions_are_reported_as_constants(tmp_path):
    """DeBERTa-v2 with projections of its own for positions: their products are constants of the file."""
    model, inputs = tiny_transformer("deberta-v2")
    compressed = _sparsified(model)
    positions = {name for name in compressed.csr if ".pos_" in name}
    assert len(positions) == 4
    skipped = dict(export_onnx(compressed, tmp_path / "m.onnx", inputs).skipped)
    assert set(skipped) == positions
    assert all("position embeddings only, and the file holds the products" in why for why in skipped.values())
    plain = export_onnx(compressed, tmp_path / "plain.onnx", inputs, ExportConfig(graph_passes=False))
    assert plain.skipped == ()


def test_inputs_that_the_model_does_not_read_are_reported(tmp_path):
    model, inputs = tiny_transformer("deberta-v3")
    inputs["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
    result = export_onnx(model, tmp_path / "m.onnx", inputs)
    assert result.skipped == (("token_type_ids", "the model does not read this input"),)


def test_one_example_is_enough_for_any_batch(tmp_path):
    model, inputs = tiny_transformer("roberta")
    result = export_onnx(model, tmp_path / "m.onnx", {k: v[:1] for k, v in inputs.items()})
    assert _worst(model, open_session(result.path, use_library=False), _lengths(inputs)) < 2e-5


def test_export_is_silent_and_leaves_the_model_as_it_was(tmp_path, capfd):
    model, inputs = tiny_transformer("bert")
    model.train()
    model.bert.pooler.eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        export_onnx(model, tmp_path / "m.onnx", inputs)
    assert model.training
    assert not model.bert.pooler.training
    assert capfd.readouterr() == ("", "")


def test_stock_runtime_folds_the_operator_to_dense_products(tmp_path):
    model, inputs = tiny_transformer("bert")
    result = export_onnx(_sparsified(model), tmp_path / "m.onnx", inputs)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    ort.InferenceSession(str(result.path), options, providers=["CPUExecutionProvider"])
    operators = _operators(tmp_path / "folded.onnx")
    assert not {"ScatterElements", "CumSum", *OPERATORS} & set(operators)


@pytest.mark.parametrize("file_kind", ["dense", "compressed"])
def test_optimum_opens_the_folder(file_kind, tmp_path):
    runtime = pytest.importorskip("optimum.onnxruntime")
    from platon_compress.export import session_options

    for family, name in (("bert", "SequenceClassification"), ("vit", "ImageClassification")):
        model, inputs = tiny_transformer(family)
        folder = tmp_path / family
        export_onnx(_sparsified(model), folder / f"{file_kind}.onnx", inputs)
        model.config.save_pretrained(folder)
        loaded = getattr(runtime, f"ORTModelFor{name}").from_pretrained(
            folder, file_name=f"{file_kind}.onnx", session_options=session_options()
        )
        with torch.no_grad():
            wanted = model(**inputs).logits
        torch.testing.assert_close(loaded(**inputs).logits, wanted, atol=2e-5, rtol=0)


def test_refuses_what_is_not_a_model(tmp_path):
    with pytest.raises(InputError, match="takes a torch module or the result of convert"):
        export_onnx("bert", tmp_path / "m.onnx", {"input_ids": torch.ones(1, 2)})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "must map names to tensors, got nothing"),
        ({"input_ids": [1, 2]}, r"must map names to tensors, got \['input_ids'\]"),
        ({"pixels": torch.ones(2, 3)}, r"does not take the inputs \['pixels'\]"),
        ({"input_ids": torch.ones(2, 3), "labels": torch.ones(2)}, "holds labels"),
    ],
)
def test_refuses_inputs_that_do_not_fit(inputs, message, tmp_path):
    model, _ = tiny_transformer("bert")
    with pytest.raises(InputError, match=message):
        export_onnx(model, tmp_path / "m.onnx", inputs)
    assert not list(tmp_path.iterdir())


class _Stubborn(torch.nn.Module):
    def forward(self, features, return_dict=True):
        return {"logits": torch.ops.aten._cdist_forward(features, features, 2.0, None)}


def test_exporter_failures_are_one_line(tmp_path):
    with pytest.raises(
        CheckFailedError, match=r"torchscript exporter failed on _Stubborn: .*; try exporter=dynamo"
    ):
        export_onnx(_Stubborn(), tmp_path / "m.onnx", {"features": torch.ones(2, 3)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"opset": 17}, "opset must be 18 to 25, got 17"),
        ({"exporter": "tf"}, "exporter must be torchscript or dynamo"),
    ],
)
def test_config_refuses(settings, message):
    with pytest.raises(InputError, match=message):
        ExportConfig(**settings)
