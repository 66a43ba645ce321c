"""Units go only when they contribute exactly nothing, and only where the model can be shrunk."""

import pytest
import torch
from torch import nn

from platon_compress.planning.coupling import NEURON_MULTIPLE, plan_units, removable_units
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer


def _model_and_coupling(family, kind):
    model, _ = tiny_transformer(family)
    return model, next(c for c in find_couplings(model) if c.kind == kind)


def _features(coupling, unit):
    return slice(unit * coupling.unit_size, (unit + 1) * coupling.unit_size)


@torch.no_grad()
def _zero_columns(model, coupling, units):
    for unit in units:
        model.get_submodule(coupling.consumer).weight[:, _features(coupling, unit)] = 0


@torch.no_grad()
def _zero_rows(model, path, coupling, units, *, bias=True):
    linear = model.get_submodule(path)
    for unit in units:
        linear.weight[_features(coupling, unit)] = 0
        if bias:
            linear.bias[_features(coupling, unit)] = 0


def _removable(model, coupling):
    return torch.nonzero(removable_units(model, coupling)).flatten().tolist()


def _planned(model, coupling):
    return next(u for u in plan_units(model) if u.coupling == coupling)


@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_zero_columns_are_enough(kind):
    model, coupling = _model_and_coupling("bert", kind)
    _zero_columns(model, coupling, [1, 3])
    assert _removable(model, coupling) == [1, 3]


def test_zero_values_remove_a_head_but_zero_queries_do_not():
    model, coupling = _model_and_coupling("bert", "heads")
    query, key, value = coupling.producers
    _zero_rows(model, query, coupling, [0])
    _zero_rows(model, key, coupling, [1])
    _zero_rows(model, value, coupling, [2])
    assert _removable(model, coupling) == [2]


@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_a_bias_that_is_left_keeps_the_unit(kind):
    model, coupling = _model_and_coupling("bert", kind)
    _zero_rows(model, coupling.producers[-1], coupling, [2], bias=False)
    assert _removable(model, coupling) == []


def test_zero_rows_remove_a_neuron_when_the_activation_maps_zero_to_zero():
    model, coupling = _model_and_coupling("bert", "neurons")
    _zero_rows(model, coupling.producers[0], coupling, [5])
    assert _removable(model, coupling) == [5]
    model.get_submodule(coupling.producers[0].rpartition(".")[0]).intermediate_act_fn = nn.Sigmoid()
    assert _removable(model, coupling) == []
    _zero_columns(model, coupling, [5])
    assert _removable(model, coupling) == [5]


def test_an_activation_that_is_not_found_proves_nothing():
    model, coupling = _model_and_coupling("bert", "neurons")
    del model.get_submodule(coupling.producers[0].rpartition(".")[0]).intermediate_act_fn
    _zero_rows(model, coupling.producers[0], coupling, [5])
    assert _removable(model, coupling) == []


def test_heads_that_go():
    model, coupling = _model_and_coupling("bert", "heads")
    _zero_columns(model, coupling, [1, 3])
    planned = _planned(model, coupling)
    assert planned.kept == (0, 2)
    assert planned.reason == f"2 of 4 heads of {coupling.block} are all zero and are removed exactly"


@pytest.mark.parametrize("kind", ["heads", "neurons"])
def test_something_always_stays(kind):
    model, coupling = _model_and_coupling("bert", kind)
    _zero_columns(model, coupling, range(coupling.units))
    least = 1 if kind == "heads" else NEURON_MULTIPLE
    assert _planned(model, coupling).kept == tuple(range(least))


def test_neuron_counts_stay_multiples():
    model, coupling = _model_and_coupling("bert", "neurons")
    _zero_columns(model, coupling, range(10, 10 + NEURON_MULTIPLE + 1))
    kept = _planned(model, coupling).kept
    assert len(kept) == coupling.units - NEURON_MULTIPLE
    assert set(kept) >= set(range(coupling.units)) - set(range(10, 10 + NEURON_MULTIPLE + 1))


def test_too_few_neurons_stay_with_a_reason():
    model, coupling = _model_and_coupling("bert", "neurons")
    _zero_columns(model, coupling, [7])
    planned = _planned(model, coupling)
    assert planned.kept is None
    assert planned.reason.endswith(f"are all zero but stay: fewer than a step of {NEURON_MULTIPLE}")


def test_nothing_zero_says_nothing():
    model, coupling = _model_and_coupling("bert", "heads")
    assert (_planned(model, coupling).kept, _planned(model, coupling).reason) == (None, "")


def test_unknown_attention_keeps_its_heads_with_a_reason():
    model, coupling = _model_and_coupling("mpnet", "heads")
    _zero_columns(model, coupling, [0])
    planned = _planned(model, coupling)
    assert planned.kept is None
    assert "1 of 4 heads" in planned.reason
    assert "MPNetSelfAttention is not among those known" in planned.reason


def test_shared_weights_stay_with_a_reason():
    model, coupling = _model_and_coupling("bert", "neurons")
    first, second = [c for c in find_couplings(model) if c.kind == "neurons"]
    model.get_submodule(second.consumer).weight = model.get_submodule(first.consumer).weight
    _zero_columns(model, first, range(32))
    planned = _planned(model, coupling)
    assert planned.kept is None
    assert f"the weight of {first.consumer} is shared with another module" in planned.reason


def test_a_norm_over_the_neurons_keeps_them():
    model, coupling = _model_and_coupling("bert", "neurons")
    model.get_submodule(coupling.block).add_module("inner", nn.LayerNorm(coupling.units))
    _zero_columns(model, coupling, range(32))
    planned = _planned(model, coupling)
    assert planned.kept is None
    assert f"{coupling.block}.inner has one parameter a neuron" in planned.reason
