"""Heads, neurons and layers by score per measured second."""

import itertools
import json

import pytest
import torch

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.unit_costs import UnitCosts, curve_name
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer

HEADS, NEURONS = "4 heads of 8 in 32", "64 neurons in 32"
COSTS = UnitCosts(
    rest_seconds=2.0,
    curves={
        HEADS: ((0, 0.5), (1, 2.0), (2, 3.0), (3, 3.5), (4, 4.0)),
        NEURONS: ((0, 0.5), (16, 2.0), (32, 3.0), (48, 4.5), (64, 6.0)),
    },
)
DENSE = 2 + 2 * (4 + 6)


def _config(**settings):
    usual = {"total_steps": 20, "mask_interval": 2, "granularity": "structured", "unit_costs": COSTS}
    return PruneConfig(**{**usual, "sparsity": 0.5, **settings})


def _pruned(family="bert", *, grow=None, **settings):
    model, _ = tiny_transformer(family)
    model.train()
    pruner = Pruner(model, _config(**settings))
    generator = torch.Generator().manual_seed(0)
    reports = []
    for _ in range(20):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            if grow and grow in name:
                parameter.grad *= 1e-3  # what matters little
            parameter.data.add_(parameter.grad, alpha=-0.01)
        reports.append(pruner.step())
    return model, pruner, reports


def _kept(pruner, coupling):
    """Bool [units]; fails when a unit is kept in one weight and masked in another."""
    masks = pruner.masks()
    columns = masks[f"{coupling.consumer}.weight"].view(-1, coupling.units, coupling.unit_size)
    units = columns.any(2).any(0)
    for path in coupling.producers:
        rows = masks[f"{path}.weight"].view(coupling.stacks, coupling.units, -1)
        assert torch.equal(rows.any(2), units.expand(coupling.stacks, -1))
        assert torch.equal(rows.all(2), units.expand(coupling.stacks, -1))
    assert torch.equal(columns.all(2).all(0), units)
    return units


def _curve(coupling):
    return dict(COSTS.curves[curve_name(coupling, 32)])


@pytest.mark.parametrize("sparsity", [0.2, 0.5, 0.8])
def test_counts_are_measured_ones_and_keep_the_time(sparsity):
    model, pruner, reports = _pruned(sparsity=sparsity)
    counts = [int(_kept(pruner, coupling).sum()) for coupling in find_couplings(model)]
    spent = 2 + sum(_curve(c)[count] for c, count in zip(find_couplings(model), counts, strict=True))
    assert spent <= DENSE * (1 - sparsity) * (1 + 1e-5)
    assert pruner.expected_speedup == pytest.approx(DENSE / spent)
    assert reports[-1].masked
    assert reports[-1].sparsity == sparsity


def test_the_choice_loses_least_of_all():
    """Against every combination of counts, with the scores that the last ranking saw."""
    model, pruner, _ = _pruned(sparsity=0.49)  # no sum of the costs is exactly the budget
    state, couplings = pruner.state_dict(), find_couplings(model)
    score = {n: (state["sensitivity_ema"][n] * state["uncertainty_ema"][n]).double() for n in pruner.names}
    sums = [_unit_sums(score, coupling) for coupling in couplings]
    losses = [
        {count: float(s.sort().values[: c.units - count].sum()) for count in _curve(c)}
        for s, c in zip(sums, couplings, strict=True)
    ]
    fitting = {
        counts: sum(loss[count] for loss, count in zip(losses, counts, strict=True))
        for counts in itertools.product(*(_curve(c) for c in couplings))
        if 2 + sum(_curve(c)[n] for c, n in zip(couplings, counts, strict=True)) <= DENSE * 0.51
    }
    chosen = tuple(int(_kept(pruner, coupling).sum()) for coupling in couplings)
    assert fitting[chosen] == pytest.approx(min(fitting.values()))
    for coupling, total, count in zip(couplings, sums, chosen, strict=True):
        assert set(total.topk(count).indices.tolist()) == set(
            torch.nonzero(_kept(pruner, coupling)).flatten().tolist()
        )


def _unit_sums(score, coupling):
    columns = score[f"{coupling.consumer}.weight"]
    total = columns.view(-1, coupling.units, coupling.unit_size).sum((0, 2))
    for path in coupling.producers:
        total = total + score[f"{path}.weight"].view(coupling.stacks, coupling.units, -1).sum((0, 2))
    return total


def test_a_layer_that_matters_little_is_dropped_whole():
    model, pruner, _ = _pruned(sparsity=0.3, grow="layer.1.intermediate.dense.weight")
    neurons = [c for c in find_couplings(model) if c.kind == "neurons"]
    model2, pruner2, _ = _pruned(sparsity=0.3)
    assert int(_kept(pruner, neurons[1]).sum()) < int(_kept(pruner2, find_couplings(model2)[3]).sum())


def test_the_time_falls_with_the_schedule():
    model, _ = tiny_transformer("bert")
    pruner = Pruner(model.train(), _config(sparsity=0.7, total_steps=40, mask_interval=2))
    generator, seen = torch.Generator().manual_seed(0), []
    for _ in range(40):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(parameter.grad, alpha=-0.01)
        report = pruner.step()
        if report.masked:
            assert pruner.expected_speedup >= (1 - 1e-5) / (1 - report.sparsity)
            seen.append(pruner.expected_speedup)
    assert seen == sorted(seen)
    assert 1 < seen[0] < seen[-1]


def test_out_of_reach_is_refused_before_the_first_step():
    with pytest.raises(
        InputError, match=r"a speed-up of 10\.00 is out of reach .* the model is 5\.50 times as fast"
    ):
        _pruned(sparsity=0.9)


def test_without_costs_it_cannot_rank():
    with pytest.raises(InputError, match="ranks by measured seconds, and unit_costs is None"):
        _pruned(unit_costs=None)


def test_what_was_not_measured_stays():
    half = UnitCosts(rest_seconds=2.0, curves={NEURONS: COSTS.curves[NEURONS]})
    _, pruner, _ = _pruned(unit_costs=half)
    assert not any("attention" in name for name in pruner.names)
    with pytest.raises(InputError, match="finds no complete group of heads or neurons"):
        _pruned(unit_costs=UnitCosts(rest_seconds=2.0, curves={"7 neurons in 32": ((0, 1.0), (7, 2.0))}))


def test_costs_are_part_of_the_state(tmp_path):
    _, pruner, _ = _pruned()
    state = json.loads(json.dumps(pruner.config.to_dict()))
    assert PruneConfig.from_dict(state) == pruner.config
    model, _ = tiny_transformer("bert")
    other = UnitCosts(rest_seconds=2.5, curves=COSTS.curves)
    with pytest.raises(InputError, match="the pruner state was saved with unit_costs="):
        Pruner(model, _config(unit_costs=other)).load_state_dict(pruner.state_dict())
    again = Pruner(model, _config())
    again.load_state_dict(pruner.state_dict())
    assert again.expected_speedup == pruner.expected_speedup


@pytest.mark.parametrize(
    ("curves", "message"),
    [
        ({"a": [[1, 1.0], [2, 2.0]]}, r"the counts of 'a' are \[1, 2\], not rising from 0"),
        ({"a": [[0, 1.0], [2, 2.0], [2, 3.0]]}, "not rising from 0"),
        ({"a": [[0, 1.0]]}, "not rising from 0"),
        ({"a": [[0, -0.1], [2, 2.0]]}, "the seconds of 'a' are below 0, or all of it takes none"),
        ({"a": [[0, 0.0], [2, 0.0]]}, "the seconds of 'a' are below 0, or all of it takes none"),
        ({"a": [[0, "x"], [2, 2.0]]}, "the unit costs hold 'x' for a, not seconds"),
        ({"a": 3}, "the unit costs do not fit"),
    ],
)
def test_broken_costs_are_refused(curves, message):
    with pytest.raises(InputError, match=message):
        PruneConfig(
            sparsity=0.5, granularity="structured", unit_costs={"rest_seconds": 1.0, "curves": curves}
        )


def test_settings_that_do_not_go_with_it():
    with pytest.raises(InputError, match="unit_costs go with granularity='structured', got 'head'"):
        PruneConfig(sparsity=0.5, granularity="head", unit_costs=COSTS)
    with pytest.raises(InputError, match="keeps measured numbers of units, got group_multiple 8"):
        _config(group_multiple=8)


def test_names_of_curves():
    names = {}
    for family in ("bert", "modernbert"):
        model, _ = tiny_transformer(family)
        names[family] = sorted({curve_name(c, 32) for c in find_couplings(model)})
    assert names["bert"] == [HEADS, NEURONS]
    assert names["modernbert"] == [HEADS, "64 gated neurons in 32"]
