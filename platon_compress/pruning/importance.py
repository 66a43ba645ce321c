"""How important a weight is: PLATON's score and the usual alternatives, on one interface.

All states are float32 whatever the weights' dtype: a score spans (weight * gradient)^2 and underflows to ties
in half precision.
"""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import torch
from torch import Tensor

from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.masks.arrays import Scratch, chunks, flat, local

__all__ = ["STATE_FIELDS", "Importance", "build_importance"]

STATE_FIELDS = ("window", "sensitivity_ema", "uncertainty_ema")
_MOST = 1e37  # stands for an overflow; differences of such numbers are finite


class Importance:
    """Up to three float32 arrays per weight, named in `fields`.

    Per step, `accumulate` adds a sample of (weight, gradient) to `window`; per window, `close_window` feeds the
    window's mean to the averages; `scores` turns them into one number per weight, large = keep.
    """

    fields: ClassVar[tuple[str, ...]] = STATE_FIELDS
    signed: ClassVar[bool] = False  # whether scores may be negative

    def __init__(self, weights: Mapping[str, Tensor], config: PruneConfig, scratch: Scratch) -> None:
        self._weights = weights
        self._beta1, self._beta2 = config.beta1, config.beta2
        self._scratch = scratch
        self.states = {field: _zeros(weights) if field in self.fields else {} for field in STATE_FIELDS}
        self.window, self.sensitivity_ema, self.uncertainty_ema = self.states.values()
        self.samples = 0  # steps in the current window
        self.windows = 0  # windows consumed so far

    @property
    def needs_gradients(self) -> bool:
        """Whether `accumulate` reads gradients at all."""
        return "window" in self.fields

    def accumulate(self) -> None:
        """Adds this step's sample of every weight that has a gradient; a missing one counts as zero."""
        for name, weight in self._weights.items():
            if self.needs_gradients and weight.grad is not None:
                for w, g, window in chunks(flat(weight), flat(weight.grad), flat(self.window[name])):
                    window.add_(self._sample(w, g))
        self.samples += 1

    def close_window(self) -> bool:
        """Feeds the window's mean to the averages and empties it. False when it holds no sample.

        A finite weight times a finite gradient may overflow; cut off, it stays the largest and poisons no average.
        """
        if not self.samples:
            return False
        for name, window in self.window.items():
            for (piece,) in chunks(flat(window)):
                piece.div_(self.samples).nan_to_num_(nan=0.0, posinf=_MOST, neginf=-_MOST)
            self._consume(name)
            window.zero_()
        self.samples = 0
        self.windows += 1
        return True

    def scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """The scores of one weight, or of every `stride`-th, as flat pieces; each reuses the last one's buffer."""
        raise NotImplementedError

    def state_bytes(self) -> int:
        """Size of the float32 arrays."""
        return 4 * sum(tensor.numel() for state in self.states.values() for tensor in state.values())

    def _sample(self, weight: Tensor, gradient: Tensor) -> Tensor:
        return self._product(weight, gradient).abs_()

    def _consume(self, name: str) -> None:
        """sensitivity_ema <- beta1 * sensitivity_ema + (1 - beta1) * mean."""
        for mean, average in chunks(flat(self.window[name]), flat(self.sensitivity_ema[name])):
            term = torch.mul(mean, 1 - self._beta1, out=self._scratch.get("sample", mean))
            average.mul_(self._beta1).add_(term)

    def _product(self, first: Tensor, second: Tensor) -> Tensor:
        """first * second in float32, in a buffer."""
        buffer = self._scratch.get("sample", first)
        if first.dtype == second.dtype == torch.float32:
            return torch.mul(first, second, out=buffer)
        return buffer.copy_(first).mul_(second)


class Platon(Importance):
    """Sensitivity times uncertainty (Zhang et al. 2022). With I the mean of |weight * gradient| of a window:

    sensitivity_ema <- beta1 * sensitivity_ema + (1 - beta1) * I
    uncertainty_ema <- beta2 * uncertainty_ema + (1 - beta2) * |I - sensitivity_ema|   (the new one)
    """

    def scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """sensitivity_ema * uncertainty_ema."""
        for s, u in chunks(
            flat(self.sensitivity_ema[name])[::stride], flat(self.uncertainty_ema[name])[::stride]
        ):
            yield torch.mul(s, u, out=self._scratch.get("score", s))

    def _consume(self, name: str) -> None:
        arrays = (self.window[name], self.sensitivity_ema[name], self.uncertainty_ema[name])
        for mean, sensitivity, uncertainty in chunks(*map(flat, arrays)):
            term = torch.mul(mean, 1 - self._beta1, out=self._scratch.get("sample", mean))
            sensitivity.mul_(self._beta1).add_(term)
            torch.sub(mean, sensitivity, out=term).abs_().mul_(1 - self._beta2)
            uncertainty.mul_(self._beta2).add_(term)


class ReferencePlaton(Platon):
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
        for name, window in self.window.items():
            flat(window).nan_to_num_(posinf=_MOST)
            self._consume(name)
            window.zero_()
        self.samples = 0
        self.windows += 1
        return True


class Sensitivity(Importance):
    """The smoothed |weight * gradient| alone: PLATON without its uncertainty."""

    fields = ("window", "sensitivity_ema")

    def scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """sensitivity_ema."""
        for (average,) in chunks(flat(self.sensitivity_ema[name])[::stride]):
            yield self._scratch.get("score", average).copy_(average)


class Magnitude(Importance):
    """|weight|; needs no gradient and no state."""

    fields = ()

    def scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """|weight| now."""
        for (weight,) in chunks(flat(self._weights[name])[::stride]):
            yield self._scratch.get("score", weight).copy_(weight).abs_()


class Movement(Importance):
    """-sum of weight * gradient over the run (Sanh et al. 2020): weights that move away from zero stay."""

    fields = ("window", "sensitivity_ema")
    signed = True

    def scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """The accumulated movement, kept in sensitivity_ema."""
        for (total,) in chunks(flat(self.sensitivity_ema[name])[::stride]):
            yield self._scratch.get("score", total).copy_(total)

    def _sample(self, weight: Tensor, gradient: Tensor) -> Tensor:
        return self._product(weight, gradient).neg_()

    def _consume(self, name: str) -> None:
        flat(self.sensitivity_ema[name]).add_(flat(self.window[name]))


class Fisher(Importance):
    """weight^2 times the smoothed gradient^2: the loss a diagonal Fisher matrix predicts for removing it."""

    fields = ("window", "sensitivity_ema")

    def scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """weight^2 * sensitivity_ema."""
        for weight, average in chunks(
            flat(self._weights[name])[::stride], flat(self.sensitivity_ema[name])[::stride]
        ):
            score = self._scratch.get("score", weight).copy_(weight)
            yield score.mul_(score).mul_(average)

    def _sample(self, weight: Tensor, gradient: Tensor) -> Tensor:
        return self._product(gradient, gradient)


_CRITERIA: dict[str, type[Importance]] = {
    "platon": Platon,
    "sensitivity": Sensitivity,
    "magnitude": Magnitude,
    "movement": Movement,
    "fisher": Fisher,
}


def build_importance(weights: Mapping[str, Tensor], config: PruneConfig, scratch: Scratch) -> Importance:
    """The importance that `config.criterion` names; held masks need none, so what keeps nothing stands for it."""
    if config.schedule == "held":
        return Magnitude(weights, config, scratch)
    kind = ReferencePlaton if config.reference_compat else _CRITERIA[config.criterion]
    return kind(weights, config, scratch)


def _zeros(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: torch.zeros(local(weight).shape, dtype=torch.float32, device=local(weight).device)
        for name, weight in weights.items()
    }
