"""Warnings: each is one line with the cause and the cure, given once."""

import logging

import pytest
import torch
from torch import nn

from platon_compress.pruning import PruneConfig, Pruner


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)


def _net():
    torch.manual_seed(0)
    return nn.ModuleList([_Block(), _Block()])


def _config(**settings):
    return PruneConfig(**{"sparsity": 0.5, "total_steps": 100, "mask_interval": 2, "beta2": 0.85, **settings})


def _steps(net, pruner, count, scale=None):
    for _ in range(count):
        for name, p in net.named_parameters():
            p.grad = torch.randn(p.shape) * (scale or {}).get(name, 1.0)
        report = pruner.step()
    return report


@pytest.fixture(autouse=True)
def _capture(caplog):
    caplog.set_level(logging.WARNING)


def test_memory_of_the_averages(caplog):
    Pruner(_net(), _config(total_steps=1000, beta2=0.95, mask_interval=10))
    assert (
        "the averages remember 200 steps (mask_interval 10, betas 0.85 and 0.95), more than a fifth of the 600"
        in caplog.text
    )
    assert "set mask_interval to 6 or less, or lower the betas" in caplog.text
    caplog.clear()
    Pruner(_net(), _config(total_steps=1000, beta2=0.95, mask_interval=6))
    assert not caplog.text


def test_a_weight_that_is_pruned_out(caplog):
    net = _net()
    pruner = Pruner(net, _config(sparsity=0.7))
    _steps(net, pruner, 100, {"0.first.weight": 1e-4, "1.first.weight": 1e-4})
    assert (
        "of 4 weights are pruned out entirely, first 0.first.weight; protect them with `ignore`"
        in caplog.text
    )
    assert caplog.text.count("pruned out entirely") <= 2


def test_scores_that_are_all_zero(caplog):
    net = _net()
    pruner = Pruner(net, _config())
    _steps(net, pruner, 60, {name: 0.0 for name, _ in net.named_parameters()})
    assert caplog.text.count("the score cut is 0: too many weights never had a gradient") == 1


def test_sparsity_that_does_not_rise(caplog):
    """Equal scores in the authors' mode: nothing lies below the cut."""
    net = _net()
    pruner = Pruner(net, _config(reference_compat=True))
    for _ in range(60):
        for p in net.parameters():
            p.data.fill_(1)
            p.grad = torch.ones_like(p)
        pruner.step()
    assert caplog.text.count("SPARSITY DOES NOT RISE: the schedule asks for") == 1
    assert "the weights hold 0.000" in caplog.text


def test_replaced_parameters(caplog):
    net = _net()
    pruner = Pruner(net, _config())
    old = list(net[0].parameters())
    net[0] = _Block()
    for p in [*old, *net.parameters()]:
        p.grad = torch.randn_like(p)
    for _ in range(12):
        pruner.step()
    assert (
        caplog.text.count("2 parameters were replaced after the Pruner was built, first 0.first.weight") == 1
    )


def test_optimizer_without_the_pruned_parameters(caplog):
    net = _net()
    pruner = Pruner(net, _config())
    assert pruner.check_optimizer(torch.optim.SGD(net.parameters(), lr=0.1))
    assert not pruner.check_optimizer(torch.optim.SGD(net[0].parameters(), lr=0.1))
    assert "the optimizer does not hold 2 of 4 pruned parameters, first 1.first.weight" in caplog.text
