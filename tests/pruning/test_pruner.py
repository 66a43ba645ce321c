"""What a pruner does step by step: exact counts, masks, gradients that are missing or not finite, what it refuses."""

import logging

import pytest
import torch
from residual_nets import residual_net, steps_config, take_steps
from torch import nn

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.masks import elements


def test_reports_and_exact_counts():
    net = residual_net()
    pruner = Pruner(net, steps_config())
    reports = take_steps(net, pruner, 40)
    assert pruner.size == 2 * (4 * 16 * 16 + 2 * 16 * 24)
    assert [report.step for report in reports] == list(range(1, 41))
    for report in reports:
        assert report.masked is (report.threshold is not None)
        if report.masked:
            assert round(report.achieved_sparsity * pruner.size) == int(pruner.size * report.sparsity)
    assert [r.step for r in reports if r.masked] == [8, 12, 16, 20, 24, 28, *range(29, 41)]
    assert reports[-1].sparsity == 0.8
    assert reports[7].mask_churn > 0
    assert reports[-2].mask_churn == 0


def test_masks_are_the_last_applied():
    net = residual_net()
    pruner = Pruner(net, steps_config())
    assert all(bool(mask.all()) for mask in pruner.masks().values())
    take_steps(net, pruner, 40)
    masks = pruner.masks()
    for name, parameter in net.named_parameters():
        if name in masks:
            assert torch.equal(parameter != 0, masks[name])
    masks["0.0.fc1.weight"].fill_(True)
    assert not bool(pruner.masks()["0.0.fc1.weight"].all())


def test_no_negative_zero_is_left():
    net = residual_net()
    pruner = Pruner(net, steps_config())
    take_steps(net, pruner, 40)
    weight = net[0][0].fc1.weight
    assert not bool(torch.signbit(weight[weight == 0]).any())


def test_ties_fall_by_position_and_the_count_is_exact():
    net = residual_net()
    pruner = Pruner(net, steps_config(sparsity=0.5, initial_warmup_steps=0))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.fill_(1)
    for _ in range(40):
        for parameter in net.parameters():
            parameter.data.fill_(1)
            parameter.grad = torch.ones_like(parameter)
        report = pruner.step()
    assert report.achieved_sparsity == 0.5
    kept = torch.cat([mask.flatten() for mask in pruner.masks().values()])
    assert not bool(kept[: pruner.size // 2].any())
    assert bool(kept[pruner.size // 2 :].all())


@pytest.mark.parametrize("criterion", ["platon", "movement"])
def test_sampled_rankings_give_the_same_masks(monkeypatch, criterion):
    masks = []
    for sampled in (1 << 20, 100):
        monkeypatch.setattr(elements, "_SAMPLED", sampled)
        net = residual_net()
        pruner = Pruner(net, steps_config(criterion=criterion))
        take_steps(net, pruner, 40)
        masks.append(pruner.masks())
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_gradient_scale_does_not_matter():
    masks = []
    for scale in (1.0, 1024.0):
        net = residual_net()
        pruner = Pruner(net, steps_config())
        take_steps(net, pruner, 40, scale=scale)
        masks.append(pruner.masks())
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_order_of_parameters_does_not_matter():
    net = residual_net()
    names = list(Pruner(net, steps_config()).names)
    masks = []
    for swap in (False, True):
        net = residual_net()
        if swap:
            for block in net[0]:
                block._modules = dict(reversed(block._modules.items()))
        pruner = Pruner(net, steps_config())
        assert (list(pruner.names) == names) is not swap
        take_steps(net, pruner, 40, optimizer=torch.optim.SGD(net.parameters(), lr=0.01))
        masks.append(pruner.masks())
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in names)


def test_pruned_weights_can_come_back():
    net = residual_net()
    reports = take_steps(net, Pruner(net, steps_config(initial_warmup_steps=0, beta1=0.3, beta2=0.3)), 40)
    assert sum(report.regrown for report in reports) > 0


def test_half_precision_weights_keep_float32_states():
    net = residual_net(dtype=torch.bfloat16)
    pruner = Pruner(net, steps_config())
    reports = take_steps(net, pruner, 40, dtype=torch.bfloat16)
    state = pruner.state_dict()
    assert {t.dtype for t in state["sensitivity_ema"].values()} == {torch.float32}
    assert round(reports[-1].achieved_sparsity * pruner.size) == int(0.8 * pruner.size)
    weight, gradient = torch.tensor([1e-3]).bfloat16(), torch.tensor([1e-3]).bfloat16()
    sample = pruner._importance._sample(weight, gradient)
    assert float(sample) == float(weight.float() * gradient.float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_gradients_are_skipped_and_counted(bad):
    net = residual_net()
    pruner = Pruner(net, steps_config())
    take_steps(net, pruner, 5)
    before = pruner.state_dict()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    net[0][1].fc2.weight.grad[3, 3] = bad
    report = pruner.step()
    assert report.skipped
    assert (report.step, pruner.skipped_steps) == (6, 1)
    after = pruner.state_dict()
    for name in before["window"]:
        assert torch.equal(before["window"][name], after["window"][name])
    reports = take_steps(net, pruner, 34)
    assert reports[-1].step == 40
    assert round(reports[-1].achieved_sparsity * pruner.size) == int(0.8 * pruner.size)


def test_huge_but_finite_gradients_are_taken():
    net = residual_net()
    pruner = Pruner(net, steps_config())
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 3e38)
    assert not pruner.step().skipped


@pytest.mark.parametrize("settings", [
    {}, {"criterion": "sensitivity"}, {"criterion": "movement"}, {"criterion": "fisher"}, {"reference_compat": True},
])  # fmt: skip
def test_products_that_overflow_poison_nothing(settings):
    """Finite weights and gradients whose product is not: those weights stay, the others are ranked as ever."""
    net = residual_net()
    pruner = Pruner(net, steps_config(**settings))
    with torch.no_grad():
        net[0][0].fc2.weight.mul_(1e3)
    for step in range(40):
        for parameter in net.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step))
        if step in (9, 10):
            net[0][0].fc2.weight.grad.fill_(3e38 if step == 9 else -3e38)
        report = pruner.step()
        assert not report.skipped
    state = pruner.state_dict()
    for field in ("sensitivity_ema", "uncertainty_ema"):
        assert all(bool(tensor.isfinite().all()) for tensor in state[field].values())
    masked = sum(int((~mask).sum()) for mask in pruner.masks().values())
    assert masked == int(0.8 * pruner.size) - ("reference_compat" in settings)


def test_a_skipped_step_still_counts():
    net = residual_net()
    pruner = Pruner(net, steps_config())
    for _ in range(3):
        report = pruner.step(skipped=True)
    assert (report.step, report.skipped, pruner.skipped_steps) == (3, True, 3)


def test_a_window_of_skipped_steps_is_no_evidence():
    net = residual_net()
    pruner = Pruner(net, steps_config(initial_warmup_steps=0))
    for _ in range(8):
        report = pruner.step(skipped=True)
    assert not report.masked
    assert report.achieved_sparsity == 0


def test_window_is_the_mean_of_the_steps_that_counted():
    net = residual_net()
    pruner = Pruner(net, steps_config(beta1=0.5))
    for step in range(4):
        for parameter in net.parameters():
            parameter.data.fill_(1)
            parameter.grad = torch.full_like(parameter, 2.0 * step)
        pruner.step(skipped=step == 1)
    value = pruner.state_dict()["sensitivity_ema"]["0.0.fc1.weight"]
    assert float(value[0, 0]) == pytest.approx(0.5 * (0 + 4 + 6) / 3)


def test_missing_gradients_are_counted_and_all_missing_is_an_error(caplog):
    net = residual_net()
    pruner = Pruner(net, steps_config())
    with pytest.raises(
        InputError, match=r"none of the 12 prunable parameters has a gradient at step 1; call"
    ):
        pruner.step()
    pruner = Pruner(net, steps_config())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    net[0][0].key.weight.grad = None
    with caplog.at_level(logging.WARNING):
        pruner.step()
        pruner.step()
    assert pruner.missing_gradients == 2
    assert caplog.text.count("1 prunable parameters have no gradient, first 0.0.key.weight") == 1


def test_zero_sparsity_prunes_nothing():
    net = residual_net()
    reports = take_steps(net, Pruner(net, steps_config(sparsity=0.0)), 40)
    assert not any(report.masked for report in reports)


def test_first_masks_with_nothing_to_take():
    net = residual_net()
    reports = take_steps(net, Pruner(net, steps_config(sparsity=1e-4)), 40)
    assert reports[-1].achieved_sparsity == 0


def test_frozen_targets(caplog):
    net = residual_net()
    net[0][0].requires_grad_(False)
    with caplog.at_level(logging.WARNING):
        assert len(Pruner(net, steps_config()).names) == 6
    assert "6 frozen parameters are not pruned, first 0.0.query.weight" in caplog.text
    with pytest.raises(InputError, match=r"1 of 1 parameters to prune are frozen, first '0.0.fc1.weight'"):
        Pruner(net, steps_config(targets="0.0.fc1"))


def test_total_steps_is_needed():
    with pytest.raises(InputError, match="total_steps is not set"):
        Pruner(residual_net(), PruneConfig(sparsity=0.5))


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_nothing_to_prune():
    empty = nn.ModuleList([nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 0)) for _ in range(2)])
    with pytest.raises(
        InputError,
        match=r"the 4 parameters to prune hold 0 weights, first '0.0.weight' of shape \(4, 0\); na",
    ):
        Pruner(empty, steps_config())
    with pytest.raises(
        InputError, match=r"no parameter to prune is left after targets='0.0.fc1' and ignore="
    ):
        Pruner(residual_net(), steps_config(targets="0.0.fc1", ignore="0.0.fc1"))


def test_memory_is_three_floats_and_a_byte():
    net = residual_net()
    pruner = Pruner(net, steps_config())
    held = [
        t
        for f in ("window", "sensitivity_ema", "uncertainty_ema")
        for t in getattr(pruner._importance, f).values()
    ]
    assert sum(t.numel() * t.element_size() for t in held) == 12 * pruner.size
    assert sum(t.numel() * t.element_size() for t in pruner._masks.kept.values()) == pruner.size
