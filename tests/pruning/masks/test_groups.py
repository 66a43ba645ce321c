"""Head and neuron granularity."""

import pytest
import torch

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.structure import find_couplings
from platon_compress.testing import tiny_transformer


def _pruned(family, **settings):
    model, _ = tiny_transformer(family)
    model.train()
    pruner = Pruner(model, PruneConfig(**{"total_steps": 20, "mask_interval": 2, **settings}))
    generator = torch.Generator().manual_seed(0)
    reports = []
    for _ in range(20):
        for parameter in model.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(parameter.grad, alpha=-0.01)
        reports.append(pruner.step())
    return model, pruner, reports


def _units(pruner, coupling):
    """Bool [units]; fails when a unit is kept in one weight and masked in another."""
    masks, views = pruner.masks(), []
    for path in coupling.producers:
        stacks = masks[f"{path}.weight"].view(coupling.stacks, coupling.units, -1)
        views.append(stacks.transpose(0, 1).reshape(coupling.units, -1))
    columns = masks[f"{coupling.consumer}.weight"]
    views.append(
        columns.view(-1, coupling.units, coupling.unit_size).transpose(0, 1).reshape(coupling.units, -1)
    )
    for view in views:
        assert torch.equal(view.any(1), view.all(1))
        assert torch.equal(view.all(1), views[0].all(1))
    return views[0].all(1)


@pytest.mark.parametrize("family", ["bert", "distilbert", "deberta-v2", "deberta-v3", "dinov2", "modernbert"])
@pytest.mark.parametrize(("granularity", "multiple"), [("head", 1), ("neuron", 8), ("neuron", 24)])
def test_units_live_and_die_as_one(family, granularity, multiple):
    model, pruner, reports = _pruned(family, sparsity=0.5, granularity=granularity, group_multiple=multiple)
    couplings = [c for c in find_couplings(model) if c.kind == f"{granularity}s"]
    kept = [_units(pruner, coupling) for coupling in couplings]
    for coupling, units in zip(couplings, kept, strict=True):
        assert int(units.sum()) % multiple == 0 or int(units.sum()) == coupling.units
        assert int(units.sum()) >= multiple
    weights_per_unit = pruner.size // sum(coupling.units for coupling in couplings)
    masked = sum(int((~units).sum()) for units in kept)
    assert masked * weights_per_unit >= int(0.5 * pruner.size)
    assert masked - multiple < 0.5 * sum(coupling.units for coupling in couplings)
    assert reports[-1].achieved_sparsity == pytest.approx(masked * weights_per_unit / pruner.size)


@pytest.mark.parametrize("family", ["bert", "modernbert"])
@pytest.mark.parametrize("granularity", ["neuron", "head"])
def test_the_lowest_sums_go(family, granularity):
    """With multiple 1 and equal group sizes the kept units are those with the largest score sums."""
    model, pruner, reports = _pruned(family, sparsity=0.5, granularity=granularity, group_multiple=1)
    state, sums, kept = pruner.state_dict(), [], []
    for coupling in (c for c in find_couplings(model) if c.kind == f"{granularity}s"):
        score = {n: state["sensitivity_ema"][n] * state["uncertainty_ema"][n] for n in pruner.names}
        columns = score[f"{coupling.consumer}.weight"].double()
        total = columns.view(-1, coupling.units, coupling.unit_size).sum((0, 2))
        for path in coupling.producers:
            rows = score[f"{path}.weight"].double()
            total += rows.view(coupling.stacks, coupling.units, -1).sum((0, 2))
        sums.append(total)
        kept.append(_units(pruner, coupling))
    sums, kept = torch.cat(sums), torch.cat(kept)
    assert float(sums[~kept].max()) <= float(sums[kept].min())
    assert reports[-1].threshold == pytest.approx(float(sums[~kept].max()))


def test_a_layer_of_fewer_units_than_the_multiple_stays():
    """4 heads can give none away when at least 8 stay; 64 neurons all stay with a multiple of 100."""
    with pytest.raises(InputError, match=r"out of reach .* every layer keeps at least 8, so at most 0.000"):
        _pruned("bert", sparsity=0.5, granularity="head", group_multiple=8)
    _, pruner, reports = _pruned("bert", sparsity=1e-9, granularity="neuron", group_multiple=100)
    assert reports[-1].achieved_sparsity == 0
    pruner._masks.rank(1)
    assert all(bool(mask.all()) for mask in pruner.masks().values())


def test_biases_of_a_unit_go_with_it():
    model, pruner, _ = _pruned("bert", sparsity=0.5, granularity="neuron", include_biases=True)
    coupling = next(c for c in find_couplings(model) if c.kind == "neurons")
    bias = pruner.masks()[f"{coupling.producers[0]}.bias"]
    assert torch.equal(bias, _units(pruner, coupling))
    assert not any(name.startswith(coupling.consumer) and name.endswith("bias") for name in pruner.names)


def test_only_the_groups_are_prunable():
    _, pruner, _ = _pruned("bert", sparsity=0.5, granularity="head")
    assert len(pruner.names) == 2 * 4
    assert all("attention" in name for name in pruner.names)


def test_out_of_reach():
    with pytest.raises(
        InputError, match=r"sparsity 0.9 is out of reach with granularity 'head': .* at most 0.750"
    ):
        _pruned("bert", sparsity=0.9, granularity="head")


def test_no_groups_in_the_model_or_the_selection():
    blocks = torch.nn.Sequential(*[torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))] * 2)
    with pytest.raises(InputError, match=r"'head' finds no complete group of heads in Sequential \(0 found"):
        Pruner(blocks, PruneConfig(total_steps=20, mask_interval=2, sparsity=0.5, granularity="head"))
    with pytest.raises(InputError, match=r"'neuron' finds no complete group of neurons in Bert.* \(2 found"):
        _pruned("bert", sparsity=0.5, granularity="neuron", ignore="re:.*intermediate.dense")


def test_resume_keeps_the_groups():
    model, pruner, _ = _pruned("bert", sparsity=0.5, granularity="neuron")
    fresh = Pruner(model, PruneConfig(total_steps=20, mask_interval=2, sparsity=0.5, granularity="neuron"))
    fresh.load_state_dict(pruner.state_dict())
    masks = pruner.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in fresh.masks().items())
