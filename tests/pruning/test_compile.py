"""torch.compile with its real backend (inductor, which needs a C++ compiler)."""

import shutil

import pytest
import torch
from torch import nn

from platon_compress.pruning import PruneConfig, Pruner

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs g++ on the CPU"),
]
_STEPS = 20


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(16)
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x):
        return x + self.second(nn.functional.gelu(self.first(self.norm(x))))


def _train(model, compiled):
    """The compiled module shares its parameters with `model`; returns losses and the pruner."""
    pruner = Pruner(compiled, PruneConfig(sparsity=0.7, total_steps=_STEPS, mask_interval=2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for step in range(_STEPS):
        generator = torch.Generator().manual_seed(step)
        loss = (compiled(torch.randn(8, 16, generator=generator)) - 1).square().mean()
        loss.backward()
        optimizer.step()
        pruner.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses, pruner


def test_compiled_training_prunes_like_eager():
    torch.manual_seed(0)
    models = [nn.Sequential(_Block(), _Block()) for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    torch._dynamo.utils.counters.clear()
    eager, one = _train(models[0], models[0])
    compiled, two = _train(models[1], torch.compile(models[1]))
    counters = torch._dynamo.utils.counters
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]
    assert compiled == pytest.approx(eager, rel=1e-4)
    assert one.names == two.names
    masks, others = one.masks(), two.masks()
    assert sum(int((mask ^ others[name]).sum()) for name, mask in masks.items()) <= 0.005 * one.size
    for name, mask in others.items():
        assert torch.equal(two.parameter(name) != 0, mask), name
        kept = mask & masks[name]
        torch.testing.assert_close(one.parameter(name)[kept], two.parameter(name)[kept], rtol=1e-3, atol=1e-4)
    assert two.count_zeros() == int(0.7 * two.size)
