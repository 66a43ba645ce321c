"""What masks have emptied goes without a change of the outputs; what still has an effect stays."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from platon_compress.baking import bake
from platon_compress.conversion import convert
from platon_compress.errors import InputError
from platon_compress.planning import Form, PlanConfig, plan
from platon_compress.planning.idle import Idle, clear_idle
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

UNIT = 5


def _outputs(model, inputs):
    with torch.no_grad():
        return model(**inputs).logits


def _linears(model, kind):
    coupling = next(c for c in find_couplings(model) if c.kind == kind)
    return coupling, [model.get_submodule(path) for path in (*coupling.producers, coupling.consumer)]


def _clear_and_compare(model, inputs, *, atol=2e-6):
    before = _outputs(model, inputs)
    idle = clear_idle(model)
    torch.testing.assert_close(_outputs(model, inputs), before, atol=atol, rtol=1e-5)
    return idle


@torch.no_grad()
def _empty(linear, *, row=None, column=None):
    if row is not None:
        linear.weight[row] = 0
    if column is not None:
        linear.weight[:, column] = 0


@pytest.mark.parametrize("family", ["bert", "distilbert", "vit", "roberta", "electra"])
def test_a_neuron_without_inputs_is_a_constant_that_joins_the_next_bias(family):
    model, inputs = tiny_transformer(family)
    _, (first, second) = _linears(model, "neurons")
    _empty(first, row=UNIT)
    bias = second.bias.detach().clone()
    idle = _clear_and_compare(model, inputs)
    assert idle.found["neurons"][0] == 1
    assert idle.cleared == second.out_features
    assert not second.weight[:, UNIT].any()
    assert first.bias[UNIT] == 0
    assert not torch.equal(second.bias, bias)


def test_a_neuron_that_nobody_reads_loses_its_row():
    model, inputs = tiny_transformer("bert")
    _, (first, second) = _linears(model, "neurons")
    _empty(second, column=UNIT)
    bias = second.bias.detach().clone()
    idle = _clear_and_compare(model, inputs)
    assert idle.found == {"neurons": (1, idle.found["neurons"][1])}
    assert idle.cleared == first.in_features
    assert not first.weight[UNIT].any()
    assert torch.equal(second.bias, bias)


@pytest.mark.parametrize("family", ["bert", "vit", "distilbert"])
def test_a_value_without_inputs_is_a_constant_too(family):
    model, inputs = tiny_transformer(family)
    _, (_, _, value, output) = _linears(model, "heads")
    _empty(value, row=UNIT)
    idle = _clear_and_compare(model, inputs)
    assert idle.found["value features"][0] == 1
    assert not output.weight[:, UNIT].any()
    assert value.bias[UNIT] == 0


def test_a_value_that_nobody_reads_goes():
    model, inputs = tiny_transformer("bert")
    _, (_, _, value, output) = _linears(model, "heads")
    _empty(output, column=UNIT)
    _clear_and_compare(model, inputs)
    assert not value.weight[UNIT].any()


@pytest.mark.parametrize("family", ["bert", "vit"])
def test_a_key_without_inputs_takes_its_query_along_whatever_its_bias(family):
    model, inputs = tiny_transformer(family)
    _, (query, key, _, _) = _linears(model, "heads")
    _empty(key, row=UNIT)
    assert key.bias[UNIT] != 0
    idle = _clear_and_compare(model, inputs)
    assert idle.found["query and key features"][0] == 1
    assert not query.weight[UNIT].any()
    assert query.bias[UNIT] == key.bias[UNIT] == 0


def test_a_query_without_inputs_goes_only_without_a_bias():
    model, inputs = tiny_transformer("bert")
    _, (query, key, _, _) = _linears(model, "heads")
    _empty(query, row=UNIT)
    assert _clear_and_compare(model, inputs).found == {}
    assert key.weight[UNIT].any()
    with torch.no_grad():
        query.bias[UNIT] = 0
    assert _clear_and_compare(model, inputs).found["query and key features"][0] == 1
    assert not key.weight[UNIT].any()
    assert key.bias[UNIT] == 0


def test_dropping_a_biased_query_would_change_the_outputs():
    model, inputs = tiny_transformer("bert")
    _, (query, key, _, _) = _linears(model, "heads")
    _empty(query, row=slice(0, 8))
    before = _outputs(model, inputs)
    _empty(key, row=slice(0, 8))
    with torch.no_grad():
        key.bias[:8] = 0
    assert (_outputs(model, inputs) - before).abs().max() > 1e-5


def test_a_head_without_values_needs_no_scores():
    model, inputs = tiny_transformer("bert")
    coupling, (query, key, value, _) = _linears(model, "heads")
    head = slice(coupling.unit_size, 2 * coupling.unit_size)
    _empty(value, row=head)
    _clear_and_compare(model, inputs)
    assert not query.weight[head].any()
    assert not key.weight[head].any()
    assert query.weight[: coupling.unit_size].any()


def test_attention_of_other_kinds_keeps_its_features():
    for family in ("mpnet", "deberta-v2"):
        model, inputs = tiny_transformer(family)
        _, linears = _linears(model, "heads")
        for linear in linears[:3]:
            _empty(linear, row=UNIT)
        assert _clear_and_compare(model, inputs).found == {}


def test_an_activation_that_is_not_known_keeps_a_constant_neuron():
    model, inputs = tiny_transformer("bert")
    coupling, (first, second) = _linears(model, "neurons")
    _empty(first, row=UNIT)
    parent = model.get_submodule(coupling.producers[0].rpartition(".")[0])
    act = parent.intermediate_act_fn
    del parent.intermediate_act_fn
    parent.forward = lambda hidden: act(first(hidden))
    assert _clear_and_compare(model, inputs).found == {}
    _empty(second, column=UNIT)
    assert _clear_and_compare(model, inputs).found["neurons"][0] == 1


def test_an_activation_that_is_not_zero_at_zero():
    model, inputs = tiny_transformer("bert")
    coupling, (first, second) = _linears(model, "neurons")
    model.get_submodule(coupling.producers[0].rpartition(".")[0]).intermediate_act_fn = nn.Sigmoid()
    _empty(first, row=UNIT)
    with torch.no_grad():
        first.bias[UNIT] = 0
    bias = second.bias.detach().clone()
    _clear_and_compare(model, inputs)
    assert not torch.equal(second.bias, bias)


def test_shared_weights_stay():
    model, _ = tiny_transformer("bert")
    first, second = [c for c in find_couplings(model) if c.kind == "neurons"]
    model.get_submodule(second.producers[0]).weight = model.get_submodule(first.producers[0]).weight
    _empty(model.get_submodule(first.producers[0]), row=UNIT)
    assert clear_idle(model).found == {}


def test_gated_neurons_go_where_a_factor_is_always_zero():
    model, inputs = tiny_transformer("modernbert")
    coupling, (fused, output) = _linears(model, "neurons")
    _empty(fused, row=coupling.units + UNIT)
    idle = _clear_and_compare(model, inputs)
    assert idle.found["neurons"] == (1, 2 * coupling.units)
    assert not fused.weight[UNIT].any()
    assert not output.weight[:, UNIT].any()


def test_turned_queries_and_keys_stay_but_their_values_go():
    model, inputs = tiny_transformer("modernbert")
    coupling, (fused, output) = _linears(model, "heads")
    width = coupling.units * coupling.unit_size
    for stack in range(3):
        _empty(fused, row=stack * width + UNIT)
    fused_before = fused.weight.detach().clone()
    idle = _clear_and_compare(model, inputs)
    assert idle.found == {"value features": (1, 2 * width)}
    assert torch.equal(fused.weight[: 2 * width], fused_before[: 2 * width])
    assert not output.weight[:, UNIT].any()


@pytest.mark.parametrize("force", [None, Form.CSR, Form.DENSE])
def test_a_plan_clears_in_every_form_and_conversion_keeps_the_outputs(force):
    model, inputs = tiny_transformer("bert")
    for coupling in find_couplings(model):
        producer = model.get_submodule(coupling.producers[-1])
        _empty(producer, row=slice(0, 2 * coupling.unit_size if coupling.kind == "heads" else 16))
    baked = bake(model)
    before, weights = _outputs(baked.model, inputs), copy.deepcopy(baked.model.state_dict())
    made = plan(baked, PlanConfig(tokens=16, threads=1, force=force))
    converted = convert(baked, made)
    torch.testing.assert_close(_outputs(converted.model, inputs), before, atol=2e-6, rtol=1e-5)
    assert all(torch.equal(value, weights[name]) for name, value in baked.model.state_dict().items())
    assert made.idle.cleared > 0
    assert len(converted.removed) == (4 if force is None else 0)
    assert clear_idle(converted.model).cleared == 0


def test_the_plan_remembers_what_was_cleared():
    model, _ = tiny_transformer("bert")
    _empty(_linears(model, "neurons")[1][0], row=slice(0, 16))
    made = plan(bake(model), PlanConfig(tokens=16, threads=1))
    assert type(made).from_dict(made.to_dict()) == made
    assert made.to_dict()["idle"]["reason"].startswith(
        "16 of 128 neurons have no effect of their own; 512 more weights ("
    )
    assert type(made).from_dict(replace(made, idle=None).to_dict()).idle is None
    with pytest.raises(InputError, match=r"the plan's idle does not fit .*; plan the model again"):
        Idle.from_dict({"found": [], "cleared": 1, "nonzeros": 2})


def test_a_list_of_what_was_found_reads_well():
    found = {"neurons": (1, 4), "value features": (2, 4), "query and key features": (3, 4)}
    assert Idle(found=found, cleared=5, nonzeros=50).reason == (
        "1 of 4 neurons, 2 of 4 value features and 3 of 4 query and key features have no effect of their own; "
        "5 more weights (10.0% of those left) are removed without changing the outputs"
    )
    assert Idle(found={}, cleared=0, nonzeros=50).reason == ""
