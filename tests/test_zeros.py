"""Zeros that stay zeros while a model is trained, whatever the optimiser does."""

import pytest
import torch
from torch import nn

from platon_compress import keep_zeros
from platon_compress.baking import bake
from platon_compress.errors import InputError
from platon_compress.selection import select
from platon_compress.testing import tiny_transformer

_OPTIMIZERS = {
    "SGD with momentum and decay": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "Adam, one kernel": lambda p: torch.optim.AdamW(p, lr=0.01, fused=True),
    "Adafactor": lambda p: torch.optim.Adafactor(p, lr=0.05),
    "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
    "pushes everything": lambda p: _Pushing(p, {}),
}


class _Pushing(torch.optim.Optimizer):
    """Moves every entry, whatever its gradient."""

    def step(self, closure=None):
        with torch.no_grad():
            for group in self.param_groups:
                for parameter in group["params"]:
                    parameter.add_(1.0)


def _pruned():
    model, inputs = tiny_transformer("bert")
    masks = {name: torch.rand(p.shape) < 0.3 for name, p in select(model).items()}
    return bake(model, masks).model, inputs


def _zeros(model):
    return {name: p.detach() == 0 for name, p in model.named_parameters() if int((p == 0).sum()) > 50}


def _train(model, inputs, optimizer, steps=5):
    for _ in range(steps):
        optimizer.zero_grad()
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        optimizer.step()


@pytest.mark.parametrize("name", _OPTIMIZERS)
@pytest.mark.parametrize("first", ["optimiser", "keeper"])
def test_zeros_stay(name, first):
    model, inputs = _pruned()
    before, weights = _zeros(model), {n: p.detach().clone() for n, p in model.named_parameters()}
    assert len(before) == 12
    optimizer = _OPTIMIZERS[name](model.parameters()) if first == "optimiser" else None
    with keep_zeros(model) as keeper:
        optimizer = optimizer or _OPTIMIZERS[name](model.parameters())
        _train(model, inputs, optimizer)
    assert keeper.zeros == sum(int(mask.sum()) for mask in before.values())
    own = {id(p) for p in model.parameters()}
    assert all(id(p) in own for group in optimizer.param_groups for p in group["params"])
    for key, mask in before.items():
        weight = model.get_parameter(key)
        assert torch.equal(weight[mask], torch.zeros(int(mask.sum())))
        assert bool((weight[~mask] != weights[key][~mask]).float().mean() > 0.9), "nothing was learnt"


def test_a_momentum_from_before_does_not_revive_them():
    model, inputs = _pruned()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    _train(model, inputs, optimizer)
    with torch.no_grad():
        for parameter in select(model).values():
            parameter.masked_fill_(parameter.abs() < parameter.abs().median(), 0)
    before = _zeros(model)
    with keep_zeros(model):
        _train(model, inputs, optimizer)
    assert all(not model.get_parameter(key)[mask].any() for key, mask in before.items())


def test_gradients_at_zeros_never_count():
    model, inputs = _pruned()
    before = _zeros(model)
    with keep_zeros(model):
        model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
        assert all(not model.get_parameter(key).grad[mask].any() for key, mask in before.items())
    model.zero_grad()
    model(**inputs, labels=torch.tensor([0, 1])).loss.backward()
    assert any(bool(model.get_parameter(key).grad[mask].any()) for key, mask in before.items())


def test_afterwards_weights_are_free_again():
    model, inputs = _pruned()
    before = _zeros(model)
    keep_zeros(model).remove()
    _train(model, inputs, torch.optim.SGD(model.parameters(), lr=0.1))
    assert any(bool(model.get_parameter(key)[mask].any()) for key, mask in before.items())


def test_a_model_without_zeros_is_refused():
    with pytest.raises(InputError, match=r"none of the 1 linear layers of Sequential holds zeros to keep"):
        keep_zeros(nn.Sequential(nn.Linear(30, 30)))
