"""Training with what 8-bit values will round already rounded, gradients passed straight through (Bengio et al. 2013).

In the last phase of pruning, linear layers multiply what the exported file will: each row's weights as whole numbers within
63 with a scale, each token's features as 256 steps between their smallest and largest (docs/operator.md, `gaps_int8`). The
weights themselves stay floats, so a step smaller than a rounding is not lost.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from platon_compress.pruning.trainer import PlatonCallback

__all__ = ["RoundedLinear", "RoundedPhase", "rounded_rows", "rounded_tokens"]

_WEIGHT_STEPS, _TOKEN_STEPS = 63, 255
_LEAST_SCALE = 1e-30


def rounded_rows(weight: Tensor) -> Tensor:
    """[out, in] with each row at whole multiples of its largest size / 63."""
    scale = weight.abs().amax(dim=-1, keepdim=True) / _WEIGHT_STEPS
    return torch.round(weight / scale.clamp(min=_LEAST_SCALE)) * scale


def rounded_tokens(x: Tensor) -> Tensor:
    """[..., features] with each token at whole multiples of its range / 255; the range holds 0."""
    low = x.amin(dim=-1, keepdim=True).clamp(max=0)
    high = x.amax(dim=-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / _TOKEN_STEPS).clamp(min=_LEAST_SCALE)
    zero = torch.round(-low / scale)
    return ((torch.round(x / scale) + zero).clamp(0, _TOKEN_STEPS) - zero) * scale


class RoundedLinear(nn.Linear):
    """A linear layer of rounded numbers whose gradients are those of the exact ones."""

    def forward(self, x: Tensor) -> Tensor:
        x, weight = x.float(), self.weight.float()
        x = x + (rounded_tokens(x) - x).detach()
        weight = weight + (rounded_rows(weight) - weight).detach()
        return nn.functional.linear(x, weight, self.bias)


class RoundedPhase(TrainerCallback):
    """Rounds the pruned linear layers of `model` in the final phase of the schedule of `pruning`; None: never.

    Only the class of a layer changes, so that names, copies and checkpoints are those of the model.
    """

    def __init__(self, model: nn.Module, pruning: PlatonCallback | None) -> None:
        self._model, self._pruning = model, pruning
        self._layers: tuple[nn.Module, ...] = ()

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Whatever happens inside, layers are plain behind it."""
        try:
            yield
        finally:
            self._become(nn.Linear)
            self._layers = ()

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """The Trainer's hook."""
        del args, control
        if self._pruning is None or self._layers:
            return
        pruner = self._pruning.pruner
        if pruner.schedule.is_final(state.global_step + 1):
            owners = (self._model.get_submodule(name.rpartition(".")[0]) for name in pruner.names)
            self._layers = tuple(layer for layer in owners if type(layer) is nn.Linear)
            self._become(RoundedLinear)

    def _become(self, kind: type[nn.Linear]) -> None:
        for layer in self._layers:
            layer.__class__ = kind
