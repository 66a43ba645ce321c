"""Every supported family: which weights are selected, tied ones once, and groups through to ONNX."""

import pytest
import torch
import transformers

from platon_compress.baking import bake
from platon_compress.conversion import convert
from platon_compress.export import export_onnx, open_session
from platon_compress.planning import Form, PlanConfig, plan
from platon_compress.selection import select
from platon_compress.structure import find_blocks, find_couplings
from platon_compress.testing import tiny_transformer

_MAJOR = int(transformers.__version__.split(".")[0])
_SWIGLU = 6 if _MAJOR < 5 else 7  # gate and up are one linear in 4.57
# family -> linears in a block: query, key, value, output and two of the FFN, unless said otherwise
_LINEARS = {
    "bert": 6,
    "roberta": 6,
    "camembert": 6,
    "electra": 6,
    "mpnet": 6,
    "distilbert": 6,
    "xlm-roberta": 6,
    "deberta-v2": 8,  # two projections of the relative positions
    "deberta-v3": 6,  # which share the query's and the key's here
    "mdeberta": 6,
    "modernbert": 4,  # query, key, value in one; gate and up in one
    "vit": 6,
    "deit": 6,
    "dinov2": 6,
    "dinov2-swiglu": _SWIGLU,
    "clip-vision": 6,
    "clip-text": 6,
    "siglip-vision": 6,
    "siglip-text": 6,
}
_SHRUNK = (
    "deberta-v3", "modernbert", "mpnet", "electra", "dinov2-swiglu", "clip-vision", "clip-text", "siglip-vision",
    "siglip-text",
)  # fmt: skip
# MPNet has a position bias for each head; CLIP's and SigLIP's code takes its width from its input before 5.0.
_HEADS_STAY = (
    ("mpnet",) if _MAJOR > 4 else ("mpnet", "clip-vision", "clip-text", "siglip-vision", "siglip-text")
)


@pytest.mark.parametrize("family", _LINEARS)
def test_all_linears_of_the_blocks_are_selected_and_nothing_else(family):
    model, _ = tiny_transformer(family)
    chosen = select(model)
    assert len(chosen) == 2 * _LINEARS[family]
    blocks = find_blocks(model)
    for name, parameter in chosen.items():
        assert sum(name.startswith(f"{block}.") for block in blocks) == 1
        assert isinstance(model.get_submodule(name.removesuffix(".weight")), torch.nn.Linear)
        assert parameter is model.get_parameter(name)


@pytest.mark.parametrize("family", _LINEARS)
def test_every_linear_of_a_block_belongs_to_one_group(family):
    """Heads and neurons together cover the block, so group pruning reaches everything that elements reach."""
    model, _ = tiny_transformer(family)
    members = [f"{p}.weight" for c in find_couplings(model) for p in (*c.producers, c.consumer)]
    assert sorted(members) == sorted(select(model))


@pytest.mark.parametrize("name", ["BertForMaskedLM", "XLMRobertaForMaskedLM", "ModernBertForMaskedLM"])
def test_a_decoder_tied_to_the_embeddings_is_not_pruned(name):
    settings = {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
        "vocab_size": 50, "pad_token_id": 0, "tie_word_embeddings": True,
    }  # fmt: skip
    config = getattr(transformers, name.replace("ForMaskedLM", "Config"))(**settings)
    model = getattr(transformers, name)(config)
    embeddings = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is embeddings
    chosen = select(model)
    assert all(parameter is not embeddings for parameter in chosen.values())
    # Named by its second path, the tied parameter is found once, under its first name.
    decoder = next(n for n, m in model.named_modules() if m is model.get_output_embeddings())
    assert list(select(model, targets=decoder)) == [
        next(n for n, p in model.named_parameters() if p is embeddings)
    ]


def test_layers_shared_by_all_positions_are_one_block():
    """ALBERT runs one block several times: its weights are ranked and counted once."""
    config = transformers.AlbertConfig(
        hidden_size=16, embedding_size=8, num_hidden_layers=4, num_attention_heads=2, intermediate_size=24,
        vocab_size=50,
    )  # fmt: skip
    chosen = select(transformers.AlbertForSequenceClassification(config))
    assert len(chosen) == len({id(p) for p in chosen.values()}) == 6


def test_deit_with_its_distillation_token():
    config = transformers.DeiTConfig(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, image_size=16, patch_size=8
    )  # fmt: skip
    model = transformers.DeiTForImageClassificationWithTeacher(config)
    assert len(select(model)) == 12
    assert [c.kind for c in find_couplings(model)] == ["heads", "neurons"] * 2


@pytest.mark.parametrize("family", _SHRUNK)
def test_shrunk_groups_run_in_onnx(family, tmp_path):
    """Rule: masked in torch, shrunk in torch and shrunk in ONNX Runtime agree within 1e-5."""
    model, inputs = tiny_transformer(family)
    masks = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in select(model).items()}
    for coupling in find_couplings(model):
        gone = torch.arange(coupling.units) % 2 == 1
        columns = gone.repeat_interleave(coupling.unit_size)
        masks[f"{coupling.consumer}.weight"][:, columns] = False
        for path in coupling.producers:
            masks[f"{path}.weight"][columns.repeat(coupling.stacks)] = False
    baked = bake(model, masks)
    compressed = convert(baked, plan(baked, PlanConfig(tokens=12, threads=1, force=Form.STRUCTURED)))
    heads = 0 if family in _HEADS_STAY else 2
    assert [(r.before, r.after) for r in compressed.removed if r.kind == "heads"] == [(4, 2)] * heads
    assert [r.before / r.after for r in compressed.removed if r.kind == "neurons"] == [2, 2]
    with torch.no_grad():
        wanted = baked.model(**inputs, return_dict=True)[0]
        shrunk = compressed.model(**inputs, return_dict=True)[0]
    assert (wanted - shrunk).abs().max() < 1e-5
    result = export_onnx(compressed, tmp_path / "shrunk.onnx", inputs)
    feed = {name: value.numpy() for name, value in inputs.items()}
    answers = torch.from_numpy(open_session(result.path).run(None, feed)[0])
    assert (answers - wanted).abs().max() < 1e-5
