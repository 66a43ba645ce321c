import logging

import pytest
import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.masks import elements


class _Block(nn.Module):
    def __init__(self, width=16, inner=24):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.num_heads = 4

    def forward(self, x):
        x = x + self.out(self.query(x) * self.key(x).tanh() + self.value(x))
        return x + self.fc2(torch.relu(self.fc1(x)))


def _net(seed=0, dtype=torch.float32):
    torch.manual_seed(seed)
    return nn.Sequential(nn.ModuleList([_Block(), _Block()])).to(dtype)


def _forward(net, x):
    for block in net[0]:
        x = block(x)
    return x


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.8, "total_steps": 40, "mask_interval": 4, **settings})


def _train(net, pruner, steps, *, scale=1.0, start=0, optimizer=None, dtype=torch.float32):
    optimizer = optimizer or torch.optim.SGD(net.parameters(), lr=0.01)
    reports = []
    for step in range(start, start + steps):
        torch.manual_seed(step)
        loss = _forward(net, torch.randn(8, 16, dtype=dtype)).float().square().mean()
        loss.backward()
        optimizer.step()
        for parameter in net.parameters():
            parameter.grad *= scale
        reports.append(pruner.step())
        optimizer.zero_grad()
    return reports


def test_reports_and_exact_counts():
    net = _net()
    pruner = Pruner(net, _config())
    reports = _train(net, pruner, 40)
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
    net = _net()
    pruner = Pruner(net, _config())
    assert all(bool(mask.all()) for mask in pruner.masks().values())
    _train(net, pruner, 40)
    masks = pruner.masks()
    for name, parameter in net.named_parameters():
        if name in masks:
            assert torch.equal(parameter != 0, masks[name])
    masks["0.0.fc1.weight"].fill_(True)
    assert not bool(pruner.masks()["0.0.fc1.weight"].all())


def test_no_negative_zero_is_left():
    net = _net()
    pruner = Pruner(net, _config())
    _train(net, pruner, 40)
    weight = net[0][0].fc1.weight
    assert not bool(torch.signbit(weight[weight == 0]).any())


def test_ties_fall_by_position_and_the_count_is_exact():
    net = _net()
    pruner = Pruner(net, _config(sparsity=0.5, initial_warmup_steps=0))
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
        net = _net()
        pruner = Pruner(net, _config(criterion=criterion))
        _train(net, pruner, 40)
        masks.append(pruner.masks())
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_gradient_scale_does_not_matter():
    masks = []
    for scale in (1.0, 1024.0):
        net = _net()
        pruner = Pruner(net, _config())
        _train(net, pruner, 40, scale=scale)
        masks.append(pruner.masks())
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in masks[0])


def test_order_of_parameters_does_not_matter():
    net = _net()
    names = list(Pruner(net, _config()).names)
    masks = []
    for swap in (False, True):
        net = _net()
        if swap:
            for block in net[0]:
                block._modules = dict(reversed(block._modules.items()))
        pruner = Pruner(net, _config())
        assert (list(pruner.names) == names) is not swap
        _train(net, pruner, 40, optimizer=torch.optim.SGD(net.parameters(), lr=0.01))
        masks.append(pruner.masks())
    assert all(torch.equal(masks[0][name], masks[1][name]) for name in names)


def test_pruned_weights_can_come_back():
    net = _net()
    reports = _train(net, Pruner(net, _config(initial_warmup_steps=0, beta1=0.3, beta2=0.3)), 40)
    assert sum(report.regrown for report in reports) > 0


def test_half_precision_weights_keep_float32_states():
    net = _net(dtype=torch.bfloat16)
    pruner = Pruner(net, _config())
    reports = _train(net, pruner, 40, dtype=torch.bfloat16)
    state = pruner.state_dict()
    assert {t.dtype for t in state["sensitivity_ema"].values()} == {torch.float32}
    assert round(reports[-1].achieved_sparsity * pruner.size) == int(0.8 * pruner.size)
    weight, gradient = torch.tensor([1e-3]).bfloat16(), torch.tensor([1e-3]).bfloat16()
    sample = pruner._importance._sample(weight, gradient)
    assert float(sample) == float(weight.float() * gradient.float())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_bad_gradients_are_skipped_and_counted(bad):
    net = _net()
    pruner = Pruner(net, _config())
    _train(net, pruner, 5)
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
    reports = _train(net, pruner, 34)
    assert reports[-1].step == 40
    assert round(reports[-1].achieved_sparsity * pruner.size) == int(0.8 * pruner.size)


def test_huge_but_finite_gradients_are_taken():
    net = _net()
    pruner = Pruner(net, _config())
    for parameter in net.parameters():
        parameter.grad = torch.full_like(parameter, 3e38)
    assert not pruner.step().skipped


@pytest.mark.parametrize("settings", [
    {}, {"criterion": "sensitivity"}, {"criterion": "movement"}, {"criterion": "fisher"}, {"reference_compat": True},
])  # fmt: skip
def test_products_that_overflow_poison_nothing(settings):
    """Finite weights and gradients whose product is not: those weights stay, the others are ranked as ever."""
    net = _net()
    pruner = Pruner(net, _config(**settings))
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
    net = _net()
    pruner = Pruner(net, _config())
    for _ in range(3):
        report = pruner.step(skipped=True)
    assert (report.step, report.skipped, pruner.skipped_steps) == (3, True, 3)


def test_a_window_of_skipped_steps_is_no_evidence():
    net = _net()
    pruner = Pruner(net, _config(initial_warmup_steps=0))
    for _ in range(8):
        report = pruner.step(skipped=True)
    assert not report.masked
    assert report.achieved_sparsity == 0


def test_window_is_the_mean_of_the_steps_that_counted():
    net = _net()
    pruner = Pruner(net, _config(beta1=0.5))
    for step in range(4):
        for parameter in net.parameters():
            parameter.data.fill_(1)
            parameter.grad = torch.full_like(parameter, 2.0 * step)
        pruner.step(skipped=step == 1)
    value = pruner.state_dict()["sensitivity_ema"]["0.0.fc1.weight"]
    assert float(value[0, 0]) == pytest.approx(0.5 * (0 + 4 + 6) / 3)


def test_missing_gradients_are_counted_and_all_missing_is_an_error(caplog):
    net = _net()
    pruner = Pruner(net, _config())
    with pytest.raises(
        InputError, match=r"none of the 12 prunable parameters has a gradient at step 1; call"
    ):
        pruner.step()
    pruner = Pruner(net, _config())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    net[0][0].key.weight.grad = None
    with caplog.at_level(logging.WARNING):
        pruner.step()
        pruner.step()
    assert pruner.missing_gradients == 2
    assert caplog.text.count("1 prunable parameters have no gradient, first 0.0.key.weight") == 1


def test_zero_sparsity_prunes_nothing():
    net = _net()
    reports = _train(net, Pruner(net, _config(sparsity=0.0)), 40)
    assert not any(report.masked for report in reports)


def test_first_masks_with_nothing_to_take():
    net = _net()
    reports = _train(net, Pruner(net, _config(sparsity=1e-4)), 40)
    assert reports[-1].achieved_sparsity == 0


def test_frozen_targets(caplog):
    net = _net()
    net[0][0].requires_grad_(False)
    with caplog.at_level(logging.WARNING):
        assert len(Pruner(net, _config()).names) == 6
    assert "6 frozen parameters are not pruned, first 0.0.query.weight" in caplog.text
    with pytest.raises(InputError, match=r"1 of 1 parameters to prune are frozen, first '0.0.fc1.weight'"):
        Pruner(net, _config(targets="0.0.fc1"))


def test_total_steps_is_needed():
    with pytest.raises(InputError, match="total_steps is not set"):
        Pruner(_net(), PruneConfig(sparsity=0.5))


@pytest.mark.parametrize("stop", [1, 10, 13, 30, 37])
def test_resume_is_bit_identical(stop):
    whole = _net()
    reports = _train(whole, pruner := Pruner(whole, _config()), 40)
    first = _net()
    saved = Pruner(first, _config())
    _train(first, saved, stop)
    state, weights = saved.state_dict(), {k: v.clone() for k, v in first.state_dict().items()}
    _train(first, saved, 2, start=stop)  # the state is a copy: going on does not change it
    second = _net(seed=7)
    second.load_state_dict(weights)
    resumed = Pruner(second, _config())
    resumed.load_state_dict(state)
    assert reports[stop:] == _train(second, resumed, 40 - stop, start=stop)
    for (name, a), b in zip(whole.named_parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b), name
    masks = pruner.masks()
    assert all(torch.equal(mask, masks[name]) for name, mask in resumed.masks().items())


def test_state_has_the_documented_keys():
    net = _net()
    pruner = Pruner(torch.compile(net, backend="eager"), _config())
    state = pruner.state_dict()
    assert state["step"] == 0
    assert set(state["sensitivity_ema"]) == set(state["uncertainty_ema"]) == set(state["window"])
    assert not any("_orig_mod" in name for name in state["window"])
    assert state["config"]["sparsity"] == 0.8


def test_state_of_another_config_or_model():
    state = Pruner(_net(), _config()).state_dict()
    with pytest.raises(InputError, match=r"saved with sparsity=0.8, this run has 0.9; resume with the saved"):
        Pruner(_net(), _config(sparsity=0.9)).load_state_dict(state)
    with pytest.raises(
        InputError, match=r"saved with total_steps=40, this run has 80; .* number of processes"
    ):
        Pruner(_net(), _config(total_steps=80)).load_state_dict(state)
    other = nn.Sequential(nn.ModuleList([_Block(inner=32), _Block()]))
    with pytest.raises(
        InputError, match=r"of another model: sensitivity_ema '0.0.fc1.weight' has shape \(24, 16\)"
    ):
        Pruner(other, _config()).load_state_dict(state)
    with pytest.raises(InputError, match="the pruner state lacks 'step'; give the result of"):
        Pruner(_net(), _config()).load_state_dict({})


def test_state_without_a_counter():
    state = Pruner(_net(), _config()).state_dict()
    del state["counters"]["ranked"]
    with pytest.raises(InputError, match="the counters of the pruner state lack 'ranked'; it is damaged"):
        Pruner(_net(), _config()).load_state_dict(state)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("step", "x", "'step' of the pruner state is 'x', not a int; give the result of"),
        ("counters", None, "'counters' of the pruner state is None, not a Mapping"),
        ("config", [], r"'config' of the pruner state is \[\], not a Mapping"),
        ("window", 3, "'window' of the pruner state is 3, not a Mapping"),
    ],
)
def test_state_with_a_part_of_another_kind(field, value, message):
    pruner = Pruner(_net(), _config())
    with pytest.raises(InputError, match=message):
        pruner.load_state_dict({**pruner.state_dict(), field: value})
    with pytest.raises(InputError, match="the pruner state is a NoneType, not a dict"):
        pruner.load_state_dict(None)


def test_state_of_another_transformers_major(caplog):
    """Other names are an error that says why; the same names are only worth a warning."""
    state = Pruner(_net(), _config()).state_dict()
    here = state["transformers_major"]
    state["transformers_major"] = 3
    renamed = nn.ModuleDict({"layers": nn.ModuleList([_Block(), _Block()])})
    with pytest.raises(
        InputError, match=rf"of another model: .* \(saved with transformers 3, here {here}\); resume"
    ):
        Pruner(renamed, _config()).load_state_dict(state)
    assert "saved with transformers" not in caplog.text
    Pruner(_net(), _config()).load_state_dict(state)
    assert (
        f"the pruner state was saved with transformers 3, here is {here}; names and shapes agr" in caplog.text
    )


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_nothing_to_prune():
    empty = nn.ModuleList([nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 0)) for _ in range(2)])
    with pytest.raises(
        InputError,
        match=r"the 4 parameters to prune hold 0 weights, first '0.0.weight' of shape \(4, 0\); na",
    ):
        Pruner(empty, _config())
    with pytest.raises(
        InputError, match=r"no parameter to prune is left after targets='0.0.fc1' and ignore="
    ):
        Pruner(_net(), _config(targets="0.0.fc1", ignore="0.0.fc1"))


def test_memory_is_three_floats_and_a_byte():
    net = _net()
    pruner = Pruner(net, _config())
    held = [
        t
        for f in ("window", "sensitivity_ema", "uncertainty_ema")
        for t in getattr(pruner._importance, f).values()
    ]
    assert sum(t.numel() * t.element_size() for t in held) == 12 * pruner.size
    assert sum(t.numel() * t.element_size() for t in pruner._masks.kept.values()) == pruner.size
