"""The learning-rate rewind in a raw loop."""

import pickle

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from platon_compress.errors import InputError
from platon_compress.pruning import PruneConfig, Pruner

CONFIG = PruneConfig(
    sparsity=0.5,
    total_steps=40,
    mask_interval=2,
    beta1=0.5,
    beta2=0.5,
    freeze_steps=10,
    rewind_to=0.25,
    targets="0",
)


def _parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(
        [{"params": model[0].parameters()}, {"params": model[1].parameters(), "lr": 2.0}], lr=1.0
    )
    return model, optimizer


def _linear(step):
    return 1 - step / 40


def _rates(model, optimizer, scheduler, steps):
    pruner = Pruner(model, CONFIG, lr_scheduler=scheduler)
    rates, masks = [], []
    for _ in range(steps):
        model(torch.randn(3, 8)).square().sum().backward()
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        pruner.step()
        scheduler.step()
        optimizer.zero_grad()
        masks.append(pruner.masks()["0.weight"])
    return rates, masks


def test_the_rates_are_those_of_the_formula():
    """Rule: with T 40, f 10, R 10, frozen step e of 30..39 has the rate of step 10 + 3 (e - 30)."""
    model, optimizer = _parts()
    rates, masks = _rates(model, optimizer, LambdaLR(optimizer, _linear), 40)
    wanted = [_linear(e if e < 30 else 10 + 3 * (e - 30)) for e in range(40)]
    assert [r for r, _ in rates] == pytest.approx(wanted, abs=1e-12)
    assert [r for _, r in rates] == pytest.approx([2 * w for w in wanted], abs=1e-12)
    assert all(torch.equal(mask, masks[29]) for mask in masks[30:])


def test_steps_stay_whole_numbers_and_the_end_stays_the_end():
    """Schedules may look steps up in a table, and a loop may run on after total_steps."""
    model, optimizer = _parts()
    table = [_linear(min(e, 40)) for e in range(60)]
    scheduler = LambdaLR(optimizer, lambda e: table[e])
    Pruner(model, CONFIG, lr_scheduler=scheduler)
    rate = scheduler.lr_lambdas[0]
    assert [rate(e) for e in (40, 45)] == [table[40], table[45]]
    assert rate(30) == table[10]


def test_a_second_pruner_does_not_rewind_twice():
    model, optimizer = _parts()
    scheduler = LambdaLR(optimizer, _linear)
    for _ in range(2):
        Pruner(model, CONFIG, lr_scheduler=scheduler)
    assert scheduler.lr_lambdas[0](33) == _linear(19)


def test_nothing_is_added_to_the_saved_schedule():
    model, optimizer = _parts()
    plain, rewound = LambdaLR(optimizer, _linear), LambdaLR(optimizer, _linear)
    Pruner(model, CONFIG, lr_scheduler=rewound)
    assert pickle.dumps(plain.state_dict()) == pickle.dumps(rewound.state_dict())


def test_a_loop_without_a_schedule_is_refused():
    model, optimizer = _parts()
    with pytest.raises(
        InputError, match=r"got no scheduler; pass Pruner\(model, config, lr_scheduler=\.\.\.\)"
    ):
        Pruner(model, CONFIG)
    with pytest.raises(InputError, match=r"a function of the step .* got CosineAnnealingLR"):
        Pruner(model, CONFIG, lr_scheduler=CosineAnnealingLR(optimizer, 40))
