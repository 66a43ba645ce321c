"""Criteria, schedules, scopes and patterns besides PLATON's own, each against a few lines of arithmetic."""

import pytest
import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.masks.elements import apportion


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 12), nn.Linear(12, 8)


def _run(steps=20, *, forget=0, **settings):
    """Random gradients and plain SGD; returns the pruner, its reports, and the samples of every step."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.ModuleList([_Block(), _Block()]))
    config = PruneConfig(**{"sparsity": 0.5, "total_steps": 20, "mask_interval": 2, **settings})
    pruner, reports, samples = Pruner(net, config), [], []
    for _ in range(steps):
        samples.append({})
        for name, p in net.named_parameters():
            p.grad = torch.randn(p.shape) * (10 if name.startswith("0.1") else 1)
            p.data.sub_(0.01 * p.grad)
            samples[-1][name] = (p.detach().clone(), p.grad.clone())
        reports.append(pruner.step())
    return pruner, reports, samples


def _flat(pruner, values):
    return torch.cat([values[name].flatten() for name in pruner.names])


def _kept(pruner):
    return _flat(pruner, pruner.masks())


def _expected_scores(pruner, samples, criterion):
    """Scores after the last window (two steps long), from the recorded samples."""
    names, windows = pruner.names, [samples[i : i + 2] for i in range(0, len(samples), 2)]
    total = {name: torch.zeros_like(samples[0][name][0]) for name in names}
    for window in windows:
        for name in names:
            if criterion == "movement":
                total[name] += sum(-w * g for w, g in (s[name] for s in window)) / 2
            else:
                kind = {"sensitivity": lambda w, g: (w * g).abs(), "fisher": lambda w, g: g * g}[criterion]
                total[name] = 0.85 * total[name] + 0.15 * sum(kind(*s[name]) for s in window) / 2
    if criterion == "fisher":
        total = {name: samples[-1][name][0] ** 2 * total[name] for name in names}
    return _flat(pruner, total)


@pytest.mark.parametrize("criterion", ["sensitivity", "movement", "fisher"])
def test_gradient_criteria(criterion):
    pruner, reports, samples = _run(criterion=criterion)
    scores, kept = _expected_scores(pruner, samples, criterion), _kept(pruner)
    assert int((~kept).sum()) == int(0.5 * pruner.size)
    assert float(scores[~kept].max()) <= float(scores[kept].min()) + 1e-6
    assert reports[-1].threshold == pytest.approx(float(scores[~kept].max()), rel=1e-4, abs=1e-7)
    assert not pruner.state_dict()["uncertainty_ema"]


def test_movement_scores_may_be_negative():
    _, reports, _ = _run(criterion="movement", sparsity=0.2)
    assert reports[-1].threshold < 0


def test_magnitude_needs_no_gradients():
    net = nn.Sequential(nn.ModuleList([_Block(), _Block()]))
    pruner = Pruner(net, PruneConfig(sparsity=0.5, total_steps=20, mask_interval=2, criterion="magnitude"))
    for _ in range(20):
        pruner.step()
    weights = _flat(pruner, {name: pruner.parameter(name).detach().abs() for name in pruner.names})
    assert int((weights == 0).sum()) == int(0.5 * pruner.size)
    assert pruner.memory_bytes()["states"] == 0


@pytest.mark.parametrize("criterion", ["platon", "sensitivity", "magnitude", "movement", "fisher"])
def test_state_of_every_criterion_loads(criterion):
    pruner, _, _ = _run(13, criterion=criterion)
    other, _, _ = _run(3, criterion=criterion)
    other.load_state_dict(pruner.state_dict())
    assert torch.equal(_kept(pruner), _kept(other))
    with pytest.raises(InputError, match="the pruner state was saved with criterion="):
        _run(1, criterion="fisher" if criterion == "platon" else "platon")[0].load_state_dict(
            pruner.state_dict()
        )


def test_constant_schedule_is_at_full_sparsity_after_the_warmup():
    _, reports, _ = _run(schedule="constant", initial_warmup_steps=4)
    assert [r.masked for r in reports] == [False] * 4 + [True] * 16
    assert {r.sparsity for r in reports[4:]} == {0.5}
    assert any(r.mask_churn for r in reports[5:])


def test_one_shot_ranks_once():
    pruner, reports, _ = _run(schedule="one_shot", initial_warmup_steps=5)
    assert [r.step for r in reports if r.mask_churn] == [6]
    assert int((~_kept(pruner)).sum()) == int(0.5 * pruner.size)


def test_frozen_masks_stay_and_need_no_scores():
    pruner, reports, _ = _run(freeze_steps=4)
    assert not any(r.mask_churn for r in reports[-4:])
    assert all(r.masked for r in reports[-4:])
    earlier, _, _ = _run(16, freeze_steps=4)
    assert torch.equal(_kept(pruner), _kept(earlier))
    windows = (pruner.state_dict()["counters"]["windows"], earlier.state_dict()["counters"]["windows"])
    assert windows == (8, 8)


def test_a_mask_frozen_from_the_final_phase_on_is_ranked_at_its_count():
    """The last mask of the rise, at step 12, is of a lower sparsity: one more ranking, and then it stays."""
    pruner, reports, _ = _run(mask_interval=4, final_warmup_steps=6, freeze_steps=6)
    first_final = reports[14]
    assert reports[11].achieved_sparsity < first_final.achieved_sparsity
    assert [r.step for r in reports[12:] if r.mask_churn] == [15]
    assert {round(r.achieved_sparsity * pruner.size) for r in reports[14:]} == {int(0.5 * pruner.size)}


def test_global_scope_hits_the_layer_with_small_gradients_hardest():
    pruner, _, _ = _run()
    layers = pruner.layer_sparsity()
    assert layers["0.0.first.weight"] > 0.6
    assert layers["0.1.first.weight"] < 0.4


def test_layer_scope_prunes_every_weight_alike():
    pruner, reports, _ = _run(scope="layer")
    assert set(pruner.layer_sparsity().values()) == {0.5}
    assert reports[-1].achieved_sparsity == 0.5


def test_type_scope_ranks_one_role_across_blocks():
    pruner, _, _ = _run(scope="type")
    layers = pruner.layer_sparsity()
    for role in ("first", "second"):
        assert layers[f"0.0.{role}.weight"] + layers[f"0.1.{role}.weight"] == pytest.approx(1.0)
        assert layers[f"0.0.{role}.weight"] > 0.6


def test_a_bound_holds_and_the_count_stays_exact():
    pruner, reports, _ = _run(max_layer_sparsity=0.6)
    assert max(pruner.layer_sparsity().values()) <= 0.6
    assert reports[-1].achieved_sparsity == 0.5


def test_a_bound_that_equals_the_sparsity():
    """Half of 65 weights is 32, so the whole loses one less than half of 260."""
    net = nn.Sequential(*[nn.Linear(13, 5) for _ in range(4)])
    pruner = Pruner(
        net,
        PruneConfig(sparsity=0.5, total_steps=20, mask_interval=2, max_layer_sparsity=0.5, targets="re:.*"),
    )
    for _ in range(20):
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        pruner.step()
    assert [int((~mask).sum()) for mask in pruner.masks().values()] == [32] * 4
    tiny = PruneConfig(
        sparsity=0.01, total_steps=20, mask_interval=2, max_layer_sparsity=0.01, targets="re:.*"
    )
    pruner = Pruner(net, tiny)
    pruner._importance.windows = 1
    assert pruner._masks.rank(2).flipped == 0


def test_bounded_ties_never_spare_a_lower_score():
    """One weight is all ties, more of them than its bound; the 45 lower scores of the other go first."""
    net = nn.Sequential(nn.Linear(10, 10), nn.Linear(10, 10))
    config = PruneConfig(
        sparsity=0.3, total_steps=20, mask_interval=2, max_layer_sparsity=0.5, targets="re:.*"
    )
    pruner = Pruner(net, config)
    scores = {"0.weight": torch.ones(100), "1.weight": torch.arange(100.0) / 45}
    for name, values in scores.items():
        pruner._importance.sensitivity_ema[name].copy_(values.view(10, 10))
        pruner._importance.uncertainty_ema[name].fill_(1)
    pruner._masks.rank(60)
    gone = {name: (~mask).flatten().nonzero().flatten().tolist() for name, mask in pruner.masks().items()}
    assert gone == {"0.weight": list(range(15)), "1.weight": list(range(45))}


@pytest.mark.parametrize("criterion", ["platon", "movement"])
def test_bounds_hold_and_the_count_stays_exact(criterion):
    """The first block would lose most (its gradients are small): at most 55 % of it goes, and 48 % of 0.1.second."""
    bounds = {"re:.*": (0.0, 0.9), "re:0\\.0\\..*": (0.1, 0.55), "0.1.second": (0.48, 0.48)}
    pruner, reports, _ = _run(bounds=bounds, criterion=criterion)
    layers = pruner.layer_sparsity()
    assert layers["0.1.second.weight"] == pytest.approx(int(0.48 * 96) / 96)
    assert all(0.1 <= layers[f"0.0.{role}.weight"] <= 0.55 for role in ("first", "second"))
    assert reports[-1].achieved_sparsity == 0.5
    assert all(
        r.achieved_sparsity == int(r.sparsity * pruner.size) / pruner.size for r in reports if r.masked
    )


def test_bounds_that_fix_every_weight():
    """Least sparsities that add up to the whole leave nothing to the global ranking; they rise as the whole does."""
    pruner, reports, _ = _run(bounds={"re:.*first": (0.75, 1), "re:.*second": (0.25, 1)})
    layers = pruner.layer_sparsity()
    assert [layers[f"0.{i}.{role}.weight"] for i in (0, 1) for role in ("first", "second")] == [
        0.75,
        0.25,
    ] * 2
    assert reports[-1].achieved_sparsity == 0.5
    state = pruner.state_dict()
    for name, mask in pruner.masks().items():
        score = state["sensitivity_ema"][name] * state["uncertainty_ema"][name]
        assert float(score[~mask].max()) <= float(score[mask].min())


def test_within_bounds_the_ranking_is_the_global_one():
    pruner, _, _ = _run(bounds={"0.0.first": (0.0, 0.3)})
    free, _, _ = _run(ignore="0.0.first", sparsity=(0.5 * 4 - 28 / 96) / 3)
    assert int((~pruner.masks()["0.0.first.weight"]).sum()) == 28
    for name, mask in free.masks().items():
        assert torch.equal(mask, pruner.masks()[name])


@pytest.mark.parametrize(
    ("bounds", "message"),
    [
        (
            {"re:.*": (0.6, 1)},
            r"bounds leave a sparsity between 0\.6 and 1 in all, and 0\.5 is asked for; widen",
        ),
        ({"re:.*": (0, 0.4)}, r"bounds leave a sparsity between 0 and 0\.4 in all, and 0\.5 is asked for"),
        ({"third": (0, 1)}, r"bounds entry 'third' matches nothing in Sequential; give a module path"),
        ({"0.0.first.bias": (0, 1)}, r"bounds entry '0\.0\.first\.bias' names no weight that is pruned"),
    ],
)
def test_bounds_that_cannot_be(bounds, message):
    with pytest.raises(InputError, match=message):
        _run(bounds=bounds)


def test_apportion():
    assert apportion(5, [10, 10, 10]) == [2, 2, 1]
    assert apportion(7, [1, 2, 4]) == [1, 2, 4]
    assert apportion(0, [3, 3]) == [0, 0]
    assert sum(apportion(1001, [777, 333, 5000])) == 1001


def test_blocks_of_four_outputs():
    pruner, reports, _ = _run(granularity="4x1", sparsity=0.75)
    for mask in pruner.masks().values():
        blocks = mask.view(-1, 4, mask.shape[1])
        assert torch.equal(blocks.any(1), blocks.all(1))
    assert reports[-1].achieved_sparsity == 0.75
    state = pruner.state_dict()
    score = {n: (state["sensitivity_ema"][n] * state["uncertainty_ema"][n]) for n in pruner.names}
    units = torch.cat([s.view(-1, 4, s.shape[1]).sum(1).flatten() for s in score.values()])
    gone = torch.cat([~m.view(-1, 4, m.shape[1]).any(1).flatten() for m in pruner.masks().values()])
    assert float(units[gone].max()) <= float(units[~gone].min())


def test_two_of_four():
    pruner, reports, _ = _run(granularity="2:4", sparsity=0.5)
    state = pruner.state_dict()
    for name, mask in pruner.masks().items():
        fours = mask.view(-1, 4)
        assert set(fours.sum(1).tolist()) == {2}
        score = (state["sensitivity_ema"][name] * state["uncertainty_ema"][name]).view(-1, 4)
        lowest_kept = score.masked_fill(~fours, float("inf")).amin(1)
        assert bool((score.masked_fill(fours, 0).amax(1) <= lowest_kept).all())
    assert reports[-1].achieved_sparsity == 0.5
    rising = [r for r in reports if r.masked and r.sparsity < 0.5]
    assert rising
    assert all(abs(r.achieved_sparsity - r.sparsity) <= 2 / pruner.size for r in rising)


@pytest.mark.parametrize(("granularity", "sparsity"), [("4x1", 0.75), ("2:4", 0.5)])
def test_patterns_that_do_not_divide(granularity, sparsity):
    net = nn.Sequential(nn.Linear(6, 6))
    config = PruneConfig(sparsity=sparsity, total_steps=20, granularity=granularity, targets="0")
    with pytest.raises(
        InputError, match=rf"granularity '{granularity}' does not divide 0.weight of shape \(6, 6\)"
    ):
        Pruner(net, config)
