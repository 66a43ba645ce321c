"""A family: the schedule holds at several sparsities, in a run of at most 1.6 times the steps."""

import json

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner
from platon_compress.pruning.schedule import Schedule

FAMILY = (0.5, 0.7, 0.8, 0.9)


def _config(total=160, family=FAMILY, **settings):
    return PruneConfig(
        sparsity=family[-1],
        family=family,
        total_steps=total,
        mask_interval=2,
        beta1=0.5,
        beta2=0.5,
        **settings,
    )


def _single(**settings):
    return Schedule.of(PruneConfig(sparsity=0.9, mask_interval=2, **settings))


@pytest.mark.parametrize(
    ("members", "total", "single"),
    [(1, 100, 100), (2, 120, 100), (3, 140, 100), (6, 160, 100)],
)
def test_the_steps_are_at_most_1_6_times_those_of_one_sparsity(members, total, single):
    family = tuple(round(0.9 - 0.1 * (members - 1 - i), 2) for i in range(members))
    config = _config(total, family).resolved()
    assert config.single_steps(total) == single
    assert (config.initial_warmup_steps, config.final_warmup_steps) == (10, 30)
    assert total <= 1.6 * single
    assert Schedule.of(config).holds[-1].last == total


def test_every_member_is_held_as_long_as_the_others():
    holds = Schedule.of(_config()).holds
    assert [hold.sparsity for hold in holds] == list(FAMILY)
    assert [hold.steps for hold in holds] == [20, 20, 20, 30]
    assert [(hold.first, hold.last) for hold in holds] == [(25, 44), (54, 73), (82, 101), (131, 160)]


def test_in_between_it_rises_as_a_run_at_one_sparsity():
    """Rule 1: with the steps of the holds taken out, both have the same sparsity at every step."""
    schedule, single = Schedule.of(_config()), _single(total_steps=100)
    rising = [step for step in range(1, 161) if step > 130 or schedule.hold_at(step) is None]
    assert len(rising) == 100
    assert [schedule.sparsity(step) for step in rising] == [single.sparsity(step) for step in range(1, 101)]
    sparsities = [schedule.sparsity(step) for step in range(1, 161)]
    assert sparsities == sorted(sparsities)


def test_masks_are_applied_at_every_step_of_a_hold():
    schedule = Schedule.of(_config())
    for step in range(1, 161):
        held = any(hold.first <= step <= hold.last for hold in schedule.holds)
        assert schedule.masks_at(step) == (held or (step > 10 and step % 2 == 0)), step
    assert schedule.first_mask == 12


def _run(config, steps):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    scheduler = LambdaLR(optimizer, lambda step: 1 - step / config.total_steps)
    pruner = Pruner(model, config, lr_scheduler=scheduler)
    masks, rates, scores = [], [], []
    for step in range(steps):
        generator = torch.Generator().manual_seed(step)
        model(torch.randn(8, 16, generator=generator)).square().sum().backward()
        rates.append(optimizer.param_groups[0]["lr"] / 0.01)
        optimizer.step()
        report = pruner.step()
        optimizer.zero_grad()
        scheduler.step()
        masks.append({name: mask.clone() for name, mask in pruner.masks().items()})
        scores.append(pruner.state_dict()["sensitivity_ema"]["0.weight"].clone())
        if Schedule.of(config).hold_at(step + 1) is not None:
            wanted = int(pruner.size * Schedule.of(config).sparsity(step + 1) + 1e-9)
            assert pruner.count_zeros() == wanted, step + 1
            assert report.masked
    return masks, rates, scores


def test_in_a_hold_the_mask_stays_and_the_scores_go_on():
    config = _config(targets="0")
    masks, _, scores = _run(config, 160)
    for hold in Schedule.of(config).holds:
        first = masks[hold.first - 1]
        assert all(
            torch.equal(first["0.weight"], masks[step - 1]["0.weight"])
            for step in range(hold.first, hold.last + 1)
        )
    for hold in Schedule.of(config).holds[:-1]:
        assert not torch.equal(scores[hold.first - 1], scores[hold.last - 1])
    assert torch.equal(scores[-1], scores[-10])  # after the last one nothing is ranked any more


def test_the_rate_is_rewound_in_every_hold_and_back_after_it():
    """Rule 4, with T 160, N 100 and l(e) = 1 - e / 160."""
    config = _config(targets="0", rewind_to=0.5)
    _, rates, _ = _run(config, 160)
    # the rise of steps 1 to 24 is at 0 to 23 percent of the run of 100 steps
    assert rates[:24] == pytest.approx([1 - round(1.6 * e) / 160 for e in range(24)])
    hold = Schedule.of(config).holds[0]
    start = round(24 * 1.6)
    assert rates[24:44] == pytest.approx(
        [1 - (start + round(k * (160 - start) / 20)) / 160 for k in range(20)]
    )
    assert rates[44] == pytest.approx(1 - start / 160)  # where the rise had left off
    last = Schedule.of(config).holds[-1]
    assert (
        rates[last.first - 2] < rates[last.first - 1] == pytest.approx(0.5)
    )  # back to the middle of the run
    assert rates[-1] < 0.05
    assert hold.first == 25


def test_without_rewind_to_the_rate_is_the_callers():
    _, rates, _ = _run(_config(targets="0"), 160)
    assert rates == pytest.approx([1 - e / 160 for e in range(160)])


def test_a_resumed_family_is_bit_identical():
    config = _config(targets="0")
    torch.manual_seed(0)
    model = nn.Linear(16, 16)
    pruner = Pruner(nn.Sequential(model), config)

    def steps(pruner, model, first, last):
        for step in range(first, last):
            generator = torch.Generator().manual_seed(step)
            model(torch.randn(8, 16, generator=generator)).square().sum().backward()
            with torch.no_grad():
                model.weight -= 0.01 * model.weight.grad
            pruner.step()
            model.zero_grad()

    steps(pruner, model, 0, 60)  # in the second hold
    state, weights = pruner.state_dict(), {k: v.clone() for k, v in model.state_dict().items()}
    steps(pruner, model, 60, 160)
    other = nn.Linear(16, 16)
    other.load_state_dict(weights)
    resumed = Pruner(nn.Sequential(other), config)
    resumed.load_state_dict(state)
    steps(resumed, other, 60, 160)
    assert torch.equal(model.weight, other.weight)
    assert torch.equal(pruner.masks()["0.weight"], resumed.masks()["0.weight"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"family": (0.9, 0.5)}, "family must rise and end with sparsity 0.5, got"),
        ({"family": (0.5, 0.5)}, "family must rise"),
        ({"family": (0.0, 0.9)}, "family must rise"),
        ({"family": ()}, "family must be sparsities"),
        (
            {"family": (0.5, 0.9), "schedule": "one_shot"},
            "a family goes with schedule='cubic', got 'one_shot'",
        ),
        ({"family": (0.5, 0.9), "freeze_steps": 5}, "a family goes with freeze_steps=0, got 5"),
        ({"family": (0.5, 0.9), "reference_compat": True}, "a family goes with reference_compat=False"),
        ({"family": (0.5, 0.501, 0.502, 0.9)}, "too few to hold at each of 0.5, 0.501, 0.502, 0.9"),
        ({"family": (0.5, 0.9), "rewind_to": 1.0}, "rewind_to must be a fraction"),
        ({"family": (0.5, 0.9), "hold_steps": 160}, "nothing would be pruned gradually"),
        ({"family": (0.5, 0.9), "final_warmup_steps": 0}, "a family needs at least one step in each hold"),
        ({"hold_steps": 5}, "hold_steps 5 are those of a family"),
    ],
)
def test_what_cannot_be(settings, message):
    last = settings["family"][-1] if settings.get("family") else 0.9
    with pytest.raises(InputError, match=message):
        PruneConfig(**{"sparsity": last, "total_steps": 160, "mask_interval": 2, **settings})


def test_a_config_goes_through_json():
    config = _config().resolved()
    assert PruneConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert config.hold_steps == 20
