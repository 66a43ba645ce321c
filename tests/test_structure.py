"""Blocks and couplings of every supported family, checked by shapes and by running the model."""

import pytest
import torch
import transformers
from torch import nn

from platon_compress.structure import (
    clean_name,
    find_blocks,
    find_couplings,
    keep_every_second_layer,
    unwrap_model,
)
from platon_compress.testing import tiny_transformer

_SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
_TEXT = {**_SIZE, "vocab_size": 50, "max_position_embeddings": 40}
_IMAGE = {**_SIZE, "image_size": 16, "patch_size": 8}
_DINO = {k: v for k, v in _IMAGE.items() if k != "intermediate_size"}
_DISTIL = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24, "vocab_size": 50}
_DEBERTA = {**_TEXT, "relative_attention": True, "pos_att_type": ["c2p", "p2c"], "type_vocab_size": 0}

# family -> (config, class, couplings a block)
_FAMILIES = {
    "bert": (transformers.BertConfig(**_TEXT), "BertForSequenceClassification", 2),
    "roberta": (transformers.RobertaConfig(**_TEXT), "RobertaForSequenceClassification", 2),
    "xlm-r": (transformers.XLMRobertaConfig(**_TEXT), "XLMRobertaForSequenceClassification", 2),
    "distilbert": (transformers.DistilBertConfig(**_DISTIL), "DistilBertForSequenceClassification", 2),
    "deberta-v2": (
        transformers.DebertaV2Config(**_DEBERTA, share_att_key=False),
        "DebertaV2ForSequenceClassification",
        2,
    ),
    "deberta-v3": (
        transformers.DebertaV2Config(
            **_DEBERTA, share_att_key=True, position_buckets=8, norm_rel_ebd="layer_norm"
        ),
        "DebertaV2ForSequenceClassification",
        2,
    ),
    "vit": (transformers.ViTConfig(**_IMAGE), "ViTForImageClassification", 2),
    "deit": (transformers.DeiTConfig(**_IMAGE), "DeiTForImageClassification", 2),
    "dinov2": (transformers.Dinov2Config(**_DINO), "Dinov2ForImageClassification", 2),
    "dinov2-swiglu": (
        transformers.Dinov2Config(**_DINO, use_swiglu_ffn=True),
        "Dinov2ForImageClassification",
        2,
    ),
    "modernbert": (
        transformers.ModernBertConfig(**_TEXT, pad_token_id=0, cls_token_id=1, sep_token_id=2),
        "ModernBertForSequenceClassification",
        2,
    ),
}


def _build(family):
    config, name, per_block = _FAMILIES[family]
    torch.manual_seed(0)
    model = getattr(transformers, name)(config).eval()
    for parameter in model.parameters():  # the default initialisation hides a unit's effect on the logits
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=0.3)
    if "Image" in name:
        inputs = {"pixel_values": torch.randn(2, 3, 16, 16)}
    else:
        inputs = {
            "input_ids": torch.randint(3, 50, (2, 7)),
            "attention_mask": torch.ones(2, 7, dtype=torch.long),
        }
    return model, inputs, per_block


@pytest.mark.parametrize("family", _FAMILIES)
def test_blocks_are_the_encoder_layers(family):
    model, _, _ = _build(family)
    blocks = find_blocks(model)
    assert len(blocks) == 2
    assert [path.rpartition(".")[2] for path in blocks] == ["0", "1"]


@pytest.mark.parametrize("family", _FAMILIES)
def test_couplings_have_matching_shapes(family):
    model, _, per_block = _build(family)
    couplings = find_couplings(model)
    assert len(couplings) == 2 * per_block
    assert [c.kind for c in couplings] == ["heads", "neurons"] * 2
    assert len({c.name for c in couplings}) == len(couplings)
    for coupling in couplings:
        width = coupling.units * coupling.unit_size
        rows = coupling.stacks * width
        assert all(model.get_submodule(p).out_features == rows for p in coupling.producers)
        assert coupling.stacks == 1 or len(coupling.producers) == 1
        assert model.get_submodule(coupling.consumer).in_features == width


@pytest.mark.parametrize("family", _FAMILIES)
def test_unit_slices_carry_the_same_signal(family):
    """Zeroing a unit in the last producer (value, FFN in) equals zeroing its columns in the consumer."""
    model, inputs, _ = _build(family)
    for coupling in find_couplings(model):
        columns = slice((coupling.units - 1) * coupling.unit_size, coupling.units * coupling.unit_size)
        before = (coupling.stacks - 1) * coupling.units * coupling.unit_size
        rows = slice(before + columns.start, before + columns.stop)
        value = coupling.producers[-1 if coupling.kind == "neurons" or coupling.stacks > 1 else 2]
        by_rows = _output_with(model, inputs, value, (rows,))
        by_columns = _output_with(model, inputs, coupling.consumer, (slice(None), columns))
        torch.testing.assert_close(by_rows, by_columns, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(by_rows, model(**inputs).logits, atol=1e-7, rtol=0)


@torch.no_grad()
def _output_with(model, inputs, path, index):
    module = model.get_submodule(path)
    saved = {name: p.clone() for name, p in module.named_parameters()}
    module.weight[index] = 0
    if len(index) == 1 and module.bias is not None:
        module.bias[index] = 0
    logits = model(**inputs).logits
    for name, parameter in module.named_parameters():
        parameter.copy_(saved[name])
    return logits


class _Gated(nn.Module):
    def __init__(self, width=8, inner=12):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(width, inner), nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)


class _Fused(nn.Module):
    """Rows of `query_key_value` may be interleaved by head, so only known names are taken apart."""

    def __init__(self):
        super().__init__()
        self.num_heads = 2
        self.query_key_value, self.dense = nn.Linear(8, 24), nn.Linear(8, 8)
        self.gate_up, self.down = nn.Linear(8, 32), nn.Linear(16, 8)


def test_fused_linears_of_unknown_layout_are_left_out():
    assert find_couplings(nn.Sequential(nn.ModuleList([_Fused(), _Fused()]))) == ()


def test_gated_ffn_has_two_producers():
    model = nn.Sequential(nn.ModuleList([_Gated(), _Gated()]))
    coupling = find_couplings(model)[0]
    assert coupling.producers == ("0.0.gate_proj", "0.0.up_proj")
    assert coupling.consumer == "0.0.down_proj"
    assert (coupling.units, coupling.unit_size) == (12, 1)


def test_square_triple_is_ambiguous_and_left_out():
    assert find_couplings(nn.Sequential(nn.ModuleList([_Gated(8, 8), _Gated(8, 8)]))) == ()


def test_one_layer_encoder_has_its_block():
    config = transformers.BertConfig(**{**_TEXT, "num_hidden_layers": 1})
    assert find_blocks(transformers.BertModel(config)) == ("encoder.layer.0",)


@pytest.mark.parametrize("family", ["bert", "vit", "distilbert", "modernbert"])
def test_every_second_layer_leaves_the_first(family):
    model, inputs = tiny_transformer(family)
    blocks = [model.get_submodule(path) for path in find_blocks(model)]
    keep_every_second_layer(model)
    assert [model.get_submodule(path) for path in find_blocks(model)] == blocks[:1]
    assert model.config.num_hidden_layers == 1
    assert len(getattr(model.config, "layer_types", None) or [None]) == 1
    assert model(**inputs).logits.shape[0] == 2


def test_a_list_around_the_encoder_is_no_block():
    layers = nn.ModuleList([_Gated(), _Gated()])
    assert find_blocks(nn.Sequential(layers)) == ("0.0", "0.1")
    assert find_blocks(nn.ModuleList([nn.ModuleList([_Gated()])])) == ("0",)


def test_plain_mlp_has_no_blocks():
    assert find_blocks(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))) == ()


def test_grouped_query_attention_is_left_out():
    config = transformers.LlamaConfig(**_TEXT, num_key_value_heads=1)
    assert {c.kind for c in find_couplings(transformers.LlamaModel(config))} == {"neurons"}


def test_wrapped_models_report_plain_names():
    model, _, _ = _build("bert")
    blocks, couplings = find_blocks(model), find_couplings(model)
    compiled = torch.compile(model, backend="eager")
    assert find_blocks(compiled) == blocks
    model.bert.encoder.layer[0] = torch.compile(model.bert.encoder.layer[0], backend="eager")
    model.bert.encoder.layer[1] = torch.compile(model.bert.encoder.layer[1], backend="eager")
    assert find_blocks(model) == blocks
    assert find_couplings(model) == couplings
    assert unwrap_model(compiled) is model


@pytest.mark.parametrize(
    "name", ["module.a.weight", "_orig_mod.module.a.weight", "module.a._orig_mod.weight"]
)
def test_clean_name(name):
    assert clean_name(name) == "a.weight"
