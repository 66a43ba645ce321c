"""A net of two small residual blocks, and the steps of a training that prunes it, the same whenever they are taken again."""

import torch
from torch import nn

from platon_compress.pruning import PruneConfig


class ResidualBlock(nn.Module):
    """Four projections and a feed-forward, named as in a transformer block."""

    def __init__(self, width=16, inner=24):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.num_heads = 4

    def forward(self, x):
        x = x + self.out(self.query(x) * self.key(x).tanh() + self.value(x))
        return x + self.fc2(torch.relu(self.fc1(x)))


def residual_net(seed=0, dtype=torch.float32):
    """Two blocks of width 16, in a list as a transformer has them."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.ModuleList([ResidualBlock(), ResidualBlock()])).to(dtype)


def _forward(net, x):
    for block in net[0]:
        x = block(x)
    return x


def steps_config(**settings):
    """80 % zeros in 40 steps, a mask every fourth."""
    return PruneConfig(**{"sparsity": 0.8, "total_steps": 40, "mask_interval": 4, **settings})


def take_steps(net, pruner, steps, *, scale=1.0, start=0, optimizer=None, dtype=torch.float32):
    """Reports of `steps` steps from number `start` on, whose inputs depend on the number alone; scale: of the gradients."""
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
