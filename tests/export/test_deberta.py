"""Disentangled attention in its cheaper form: equal to transformers' own, in float64, at every length."""

import numpy as np
import onnx
import pytest
import torch
import transformers

from platon_compress.export import export_onnx, open_session
from platon_compress.export.config import ExportConfig
from platon_compress.export.deberta import disentangled_attention_for_export
from platon_compress.testing import tiny_transformer


def _model(**settings):
    """Two random blocks in float64, with 8 buckets a side: lengths above 5 reach the logarithmic ones."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    defaults = {
        "vocab_size": 80, "max_position_embeddings": 64, "type_vocab_size": 0, "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"], "share_att_key": True, "position_buckets": 8,
    }  # fmt: skip
    config = transformers.DebertaV2Config(**{**sizes, **defaults, **settings}, attn_implementation="eager")
    model = transformers.DebertaV2Model(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def _batch(tokens):
    mask = torch.ones(2, tokens, dtype=torch.long)
    mask[1, (tokens + 1) // 2 :] = 0
    return {"input_ids": torch.randint(3, 80, (2, tokens)), "attention_mask": mask}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"position_buckets": -1, "max_relative_positions": 12},
        {"share_att_key": False, "norm_rel_ebd": "layer_norm"},
        {"pos_att_type": ["c2p"]},
        {"pos_att_type": ["p2c"]},
    ],
    ids=["buckets", "clamped distances", "own projections", "c2p alone", "p2c alone"],
)
def test_the_form_is_exact_at_every_length(settings):
    model = _model(**settings)
    for tokens in (1, 2, 5, 6, 17, 40, 61):
        batch = _batch(tokens)
        with torch.no_grad():
            wanted = model(**batch).last_hidden_state
            with disentangled_attention_for_export(model) as layers:
                got = model(**batch).last_hidden_state
        assert layers == 2
        # transformers takes the square root of the head size in float32 even here.
        torch.testing.assert_close(got, wanted, rtol=0, atol=1e-8)


def test_the_model_is_left_as_it_was():
    model = _model()
    with pytest.raises(RuntimeError, match="stop"), disentangled_attention_for_export(model):
        raise RuntimeError("stop")
    assert all("forward" not in vars(layer.attention.self) for layer in model.encoder.layer)


@pytest.mark.parametrize("settings", [{"relative_attention": False}, {}], ids=["absolute", "another family"])
def test_other_models_are_not_touched(settings):
    model = _model(**settings) if settings else tiny_transformer("bert")[0]
    with disentangled_attention_for_export(model) as layers:
        assert layers == 0


@pytest.mark.parametrize("family", ["deberta-v2", "deberta-v3"])
def test_position_projections_are_constants_and_attention_is_one_node(family, tmp_path):
    model, inputs = tiny_transformer(family)
    result = export_onnx(model, tmp_path / "m.onnx", inputs, ExportConfig(opset=23))
    counts = {"Attention": 0, "GatherElements": 0, "Tile": 0, "If": 0, "Softmax": 0}
    for node in onnx.load(result.path).graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    # Per block: four linears, two of the feed-forward, two products with positions.
    assert counts["MatMul"] == 2 * 8
    assert (counts["Attention"], counts["GatherElements"], counts["Tile"], counts["If"]) == (2, 0, 0, 0)
    session = open_session(result.path, use_library=False)
    for tokens in (1, 7, 30):
        batch = _batch(tokens)
        with torch.no_grad():
            wanted = model.double()(**batch).logits.numpy()
        got = session.run(None, {name: value.numpy() for name, value in batch.items()})[0]
        np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_without_graph_passes_the_models_own_form_is_exported(tmp_path):
    model, inputs = tiny_transformer("deberta-v3")
    result = export_onnx(model, tmp_path / "m.onnx", inputs, ExportConfig(graph_passes=False))
    assert any(node.op_type == "GatherElements" for node in onnx.load(result.path).graph.node)
