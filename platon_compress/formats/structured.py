"""A linear layer without some of its output rows or input columns."""

from collections.abc import Sequence

import torch
from torch import nn

from platon_compress.errors import InputError

__all__ = ["unit_features", "without_columns", "without_rows"]


def unit_features(kept: Sequence[int], unit_size: int, *, units: int = 0, stacks: int = 1) -> torch.Tensor:
    """Feature numbers int64 [stacks * len(kept) * unit_size] of the kept units.

    Unit u holds [u * size, (u + 1) * size) of every stack; a stack has `units` of them.
    """
    starts = torch.tensor(list(kept), dtype=torch.int64) * unit_size
    one = (starts[:, None] + torch.arange(unit_size)[None, :]).reshape(-1)
    return (torch.arange(stacks)[:, None] * units * unit_size + one[None, :]).reshape(-1)


def without_rows(linear: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    """A new layer with the output features ``kept`` only: weight [len(kept), in], bias [len(kept)]."""
    _check(kept, linear.out_features, "output")
    bias = None if linear.bias is None else linear.bias[kept]
    return _linear(linear, linear.weight[kept], bias)


def without_columns(linear: nn.Linear, kept: torch.Tensor) -> nn.Linear:
    """A new layer with the input features ``kept`` only: weight [out, len(kept)], bias as it was."""
    _check(kept, linear.in_features, "input")
    return _linear(linear, linear.weight[:, kept], linear.bias)


def _check(kept: torch.Tensor, size: int, side: str) -> None:
    if kept.numel() == 0 or int(kept.min()) < 0 or int(kept.max()) >= size:
        raise InputError(
            f"cannot keep {kept.numel()} of {size} {side} features; keep at least one, numbered below {size}"
        )


def _linear(like: nn.Linear, weight: torch.Tensor, bias: torch.Tensor | None) -> nn.Linear:
    out_features, in_features = weight.shape
    new = nn.Linear(in_features, out_features, bias=bias is not None, device="meta", dtype=like.weight.dtype)
    new.weight = nn.Parameter(weight.detach().clone(), requires_grad=like.weight.requires_grad)
    if bias is not None and like.bias is not None:
        new.bias = nn.Parameter(bias.detach().clone(), requires_grad=like.bias.requires_grad)
    return new.train(like.training)
