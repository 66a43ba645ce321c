"""PLATON's sensitivity, uncertainty and score, updated in place.

All states are float32 whatever the weights' dtype: a score spans (weight * gradient)^2 and underflows to ties
in half precision.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from platon_compress.pruning.arrays import Scratch, chunks, flat
from platon_compress.pruning.config import PruneConfig

__all__ = ["Importance", "ReferenceImportance"]


class Importance:
    """Three float32 arrays per weight: the running `window`, `sensitivity_ema` and `uncertainty_ema`.

    Per step, `accumulate` adds |weight * gradient|. Per window, `close_window` does, with I the window's mean,

        sensitivity_ema <- beta1 * sensitivity_ema + (1 - beta1) * I
        uncertainty_ema <- beta2 * uncertainty_ema + (1 - beta2) * |I - sensitivity_ema|   (the new one)

    and the score is their product (Zhang et al. 2022, equations for Ibar, Ubar and S).
    """

    def __init__(self, weights: Mapping[str, Tensor], config: PruneConfig, scratch: Scratch) -> None:
        self._weights = weights
        self._beta1, self._beta2 = config.beta1, config.beta2
        self._scratch = scratch
        self.window, self.sensitivity_ema, self.uncertainty_ema = (_zeros(weights) for _ in range(3))
        self.samples = 0  # steps in the current window
        self.windows = 0  # windows consumed so far

    def accumulate(self) -> None:
        """Adds this step's sample of every weight that has a gradient; a missing one counts as zero."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                for w, g, window in chunks(flat(weight), flat(weight.grad), flat(self.window[name])):
                    window.add_(self._sample(w, g))
        self.samples += 1

    def close_window(self) -> bool:
        """Feeds the window's mean to the averages and empties it. False when it holds no sample."""
        if not self.samples:
            return False
        for name in self._weights:
            flat(self.window[name]).div_(self.samples)
            self._consume(name)
            self.window[name].zero_()
        self.samples = 0
        self.windows += 1
        return True

    def scores(self, name: str) -> Iterator[Tensor]:
        """The scores of one weight as flat pieces; each lies in a buffer that the next one reuses."""
        for s, u in chunks(flat(self.sensitivity_ema[name]), flat(self.uncertainty_ema[name])):
            yield torch.mul(s, u, out=self._scratch.get("score", s))

    def state_bytes(self) -> int:
        """Size of the float32 arrays."""
        return 4 * sum(
            tensor.numel()
            for field in (self.window, self.sensitivity_ema, self.uncertainty_ema)
            for tensor in field.values()
        )

    def _sample(self, weight: Tensor, gradient: Tensor) -> Tensor:
        buffer = self._scratch.get("sample", weight)
        if weight.dtype == gradient.dtype == torch.float32:
            torch.mul(weight, gradient, out=buffer)
        else:
            buffer.copy_(weight).mul_(gradient)
        return buffer.abs_()

    def _consume(self, name: str) -> None:
        arrays = (self.window[name], self.sensitivity_ema[name], self.uncertainty_ema[name])
        for mean, sensitivity, uncertainty in chunks(*map(flat, arrays)):
            term = torch.mul(mean, 1 - self._beta1, out=self._scratch.get("sample", mean))
            sensitivity.mul_(self._beta1).add_(term)
            torch.sub(mean, sensitivity, out=term).abs_().mul_(1 - self._beta2)
            uncertainty.mul_(self._beta2).add_(term)


class ReferenceImportance(Importance):
    """The authors' window: a running mean that starts with a zero at t = 0, and is consumed one step late.

    At t % interval == 0 the averages take the window t - interval .. t - 1, which then restarts with step t.
    """

    def __init__(self, weights: Mapping[str, Tensor], config: PruneConfig, scratch: Scratch) -> None:
        super().__init__(weights, config, scratch)
        self.samples = 1  # the zero at t = 0

    def accumulate(self) -> None:
        """Updates the running mean with this step's sample."""
        for name, weight in self._weights.items():
            if weight.grad is not None:
                for w, g, window in chunks(flat(weight), flat(weight.grad), flat(self.window[name])):
                    window.mul_(self.samples).add_(self._sample(w, g)).div_(self.samples + 1)
        self.samples += 1

    def close_window(self) -> bool:
        """Feeds the running mean, even one of a single sample, to the averages."""
        for name in self._weights:
            self._consume(name)
            self.window[name].zero_()
        self.samples = 0
        self.windows += 1
        return True


def _zeros(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        for name, weight in weights.items()
    }
