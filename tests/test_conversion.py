"""Conversion computes what the baked model computes, for every family, and refuses plans that would not."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from platon_compress.baking import bake
from platon_compress.conversion import convert
from platon_compress.errors import InputError
from platon_compress.planning import Form, Plan, PlanConfig, plan
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.selection import select
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

_SHRINKS = [
    "bert",
    "camembert",
    "deberta-v2",
    "deberta-v3",
    "deit",
    "dinov2",
    "dinov2-registers",
    "dinov2-swiglu",
    "distilbert",
    "electra",
    "modernbert",
    "roberta",
    "vit",
    "vit-msn",
    "xlm-roberta",
]


@pytest.fixture
def config(tmp_path):
    """A cost table that knows nothing near, so that only structure decides."""
    names = ("out", "in", "rows", "threads", "density", "dense_seconds", "csr_seconds")
    path = tmp_path / "table.json"
    path.write_text(
        json.dumps({"kind": "cost-table", "schema": 2, "rows": [dict.fromkeys(names, 1) | {"out": 9999}]})
    )
    return PlanConfig(tokens=12, threads=1, cost_table=path)


def _group_masks(model, lost_by_kind, *, element_density=1.0):
    """Element masks, plus in every coupling whole units off: rows of all producers and columns of the consumer."""
    generator = torch.Generator().manual_seed(3)
    masks = {
        name: torch.rand(p.shape, generator=generator) < element_density for name, p in select(model).items()
    }
    for number, coupling in enumerate(find_couplings(model)):
        for unit in lost_by_kind(coupling, number):
            features = slice(unit * coupling.unit_size, (unit + 1) * coupling.unit_size)
            masks[f"{coupling.consumer}.weight"][:, features] = False
            for path in coupling.producers:
                masks[f"{path}.weight"].unflatten(0, (coupling.stacks, -1))[:, features] = False
    return masks


def _some(coupling, number):
    """Different units in every block, so that no two layers end up alike."""
    if coupling.kind == "heads":
        return [number % 4] if number else [1, 2, 3]
    return range(number, 40 + 2 * number)


@torch.no_grad()
def _logits(model, inputs):
    return model(**inputs).logits


@pytest.mark.parametrize("element_density", [1.0, 0.3])
@pytest.mark.parametrize("family", _SHRINKS)
def test_removing_zero_units_changes_nothing(family, element_density, config):
    model, inputs = tiny_transformer(family)
    dense = _logits(model, inputs)
    baked = bake(model, _group_masks(model, _some, element_density=element_density))
    before = _logits(baked.model, inputs)
    assert (before - dense).abs().max() > 1e-3, "the masks must matter, or the test shows nothing"
    made = plan(baked, config)
    compressed = convert(baked, made)
    assert (_logits(compressed.model, inputs) - before).abs().max() < 1e-5
    assert [entry.kind for entry in compressed.removed] == ["heads", "neurons"] * 2
    assert compressed.removed[0].after == 1
    assert compressed.removed[2].after == 3
    assert compressed.csr == {}
    sizes = [sum(p.numel() for p in m.parameters()) for m in (baked.model, compressed.model)]
    assert sizes[1] < sizes[0]
    assert compressed.to_dict()["parameters"] == sizes[1]


@pytest.mark.parametrize("family", ["bert", "distilbert", "vit", "deberta-v3"])
def test_batches_of_other_sizes_fit_too(family, config):
    model, inputs = tiny_transformer(family)
    baked = bake(model, _group_masks(model, _some))
    compressed = convert(baked, plan(baked, config))
    for rows in (slice(0, 1), slice(1, 2)):
        part = {name: value[rows] for name, value in inputs.items()}
        assert (_logits(compressed.model, part) - _logits(baked.model, part)).abs().max() < 1e-5


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_both_attention_implementations(implementation, config):
    model, inputs = tiny_transformer("bert")
    model = type(model)._from_config(model.config, attn_implementation=implementation).eval()
    baked = bake(model, _group_masks(model, _some))
    compressed = convert(baked, plan(baked, config))
    assert (_logits(compressed.model, inputs) - _logits(baked.model, inputs)).abs().max() < 1e-5


def test_silent_values_and_neurons_go_although_their_columns_are_not_zero(config):
    model, inputs = tiny_transformer("bert")
    masks = {
        name: torch.ones(p.shape, dtype=torch.bool) for name, p in select(model, include_biases=True).items()
    }
    for coupling in find_couplings(model):
        producer = coupling.producers[2 if coupling.kind == "heads" else 0]
        for part in ("weight", "bias"):
            masks[f"{producer}.{part}"][: 16 if coupling.kind == "neurons" else coupling.unit_size] = False
    baked = bake(model, masks)
    compressed = convert(baked, plan(baked, config))
    assert [(e.before, e.after) for e in compressed.removed] == [(4, 3), (64, 48)] * 2
    assert (_logits(compressed.model, inputs) - _logits(baked.model, inputs)).abs().max() < 1e-5


def test_all_heads_and_neurons_zero_leaves_one_step(config):
    model, inputs = tiny_transformer("vit")
    baked = bake(model, _group_masks(model, lambda coupling, _: range(coupling.units)))
    compressed = convert(baked, plan(baked, config))
    assert {entry.after for entry in compressed.removed if entry.kind == "heads"} == {1}
    assert (_logits(compressed.model, inputs) - _logits(baked.model, inputs)).abs().max() < 1e-5


def test_families_whose_heads_stay_still_convert(config):
    model, inputs = tiny_transformer("mpnet")
    baked = bake(model, _group_masks(model, _some, element_density=0.5))
    compressed = convert(baked, plan(baked, config))
    assert all(entry.kind == "neurons" for entry in compressed.removed)
    assert (_logits(compressed.model, inputs) - _logits(baked.model, inputs)).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["bert", "deberta-v3", "modernbert", "dinov2"])
def test_csr_weights_hold_the_models_values(family, config):
    model, inputs = tiny_transformer(family)
    baked = bake(model, _group_masks(model, lambda *_: [], element_density=0.2))
    compressed = convert(baked, plan(baked, replace(config, force=Form.CSR)))
    assert set(compressed.csr) == {w.name for w in baked.weights}
    for name, csr in compressed.csr.items():
        assert np.array_equal(csr.to_dense(), baked.model.get_parameter(name).detach().numpy())
        assert np.array_equal(csr.to_dense(), compressed.model.get_parameter(name).detach().numpy())
    assert torch.equal(_logits(compressed.model, inputs), _logits(baked.model, inputs))
    assert compressed.to_dict()["csr_nnz"] == sum(w.nnz for w in baked.weights)


def test_a_layer_can_shrink_and_then_be_csr(config):
    model, inputs = tiny_transformer("bert")
    baked = bake(model, _group_masks(model, _some, element_density=0.3))
    made = plan(baked, config)
    both = replace(made, layers=tuple(replace(layer, form=Form.CSR) for layer in made.layers))
    compressed = convert(baked, both)
    for name, csr in compressed.csr.items():
        assert (csr.out_features, csr.in_features) == tuple(compressed.model.get_parameter(name).shape)
    assert (_logits(compressed.model, inputs) - _logits(baked.model, inputs)).abs().max() < 1e-5


def test_half_precision_weights_keep_their_type(config):
    model, _ = tiny_transformer("bert")
    baked = bake(model.to(torch.bfloat16), _group_masks(model, _some, element_density=0.3))
    compressed = convert(baked, plan(baked, replace(config, force=Form.CSR)))
    name = next(iter(compressed.csr))
    assert torch.equal(compressed.model.get_parameter(name), baked.model.get_parameter(name))


def test_the_baked_model_is_untouched_and_conversion_repeats(config):
    model, _ = tiny_transformer("roberta")
    baked = bake(model, _group_masks(model, _some, element_density=0.3))
    before = copy.deepcopy(baked.model.state_dict())
    made = plan(baked, config)
    reread = Plan.from_dict(json.loads(json.dumps(made.to_dict())))
    first, second = convert(baked, made), convert(baked, reread)
    assert all(torch.equal(before[k], v) for k, v in baked.model.state_dict().items())
    assert all(torch.equal(v, second.model.state_dict()[k]) for k, v in first.model.state_dict().items())
    assert not first.model.training


def _removing(config):
    model, _ = tiny_transformer("bert")
    baked = bake(model, _group_masks(model, _some))
    return baked, plan(baked, config)


def _changed(made, number, **fields):
    layers = list(made.layers)
    layers[number] = replace(layers[number], **fields)
    return replace(made, layers=tuple(layers))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"name": "no.such.weight"},
            r"the plan names 'no\.such\.weight', which BertFor\w+ lacks; plan this very",
        ),
        ({"shape": (31, 32)}, r"the plan has '.*query\.weight' as \[31, 32\], the model as \[32, 32\]"),
        ({"kept": (0, 1)}, "but not .* alike; plan this very model again"),
        ({"group": "elsewhere"}, "the plan shrinks 'elsewhere', which BertFor"),
    ],
)
def test_plans_that_do_not_fit_are_refused(fields, message, config):
    baked, made = _removing(config)
    with pytest.raises(InputError, match=message):
        convert(baked, _changed(made, 0, **fields))


def test_a_plan_of_other_weights_is_refused(config):
    _, made = _removing(config)
    other = bake(
        nn.DataParallel(tiny_transformer("bert")[0]), _group_masks(tiny_transformer("bert")[0], lambda *_: [])
    )
    with pytest.raises(
        InputError, match=r"the plan removes units of .* that are not all zero; plan this very"
    ):
        convert(other, made)


@pytest.mark.parametrize(("granularity", "kind", "steps"), [("head", "heads", 1), ("neuron", "neurons", 8)])
@pytest.mark.parametrize("family", ["bert", "vit", "modernbert", "deberta-v3", "dinov2-swiglu"])
def test_what_the_pruner_takes_by_group_is_really_removed(family, granularity, kind, steps, config):
    model, inputs = tiny_transformer(family)
    settings = PruneConfig(
        sparsity=0.5,
        total_steps=4,
        initial_warmup_steps=1,
        final_warmup_steps=1,
        mask_interval=1,
        granularity=granularity,
    )
    pruner = Pruner(model, settings)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(4):
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()
        pruner.step()
        optimizer.zero_grad()
    baked = bake(model, pruner.masks())
    compressed = convert(baked, plan(baked, config))
    assert compressed.removed
    assert {entry.kind for entry in compressed.removed} == {kind}
    assert all(entry.after % steps == 0 for entry in compressed.removed)
    gone = sum(entry.before - entry.after for entry in compressed.removed)
    units = sum(entry.units for entry in find_couplings(model) if entry.kind == kind)
    assert gone >= units / 4
    assert (_logits(compressed.model, inputs) - _logits(baked.model, inputs)).abs().max() < 1e-5
    live = sum(int(torch.count_nonzero(baked.model.get_parameter(w.name))) for w in baked.weights)
    left = sum(int(torch.count_nonzero(compressed.model.get_parameter(w.name))) for w in baked.weights)
    assert live == left
