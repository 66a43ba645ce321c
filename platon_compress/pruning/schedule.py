"""The sparsity at each step, and the steps at which masks are applied."""

from dataclasses import dataclass

from platon_compress.pruning.config import PruneConfig

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """The schedule over optimiser steps t = 1, 2, ...

    Remaining ratio r(t), with T total, t_i initial and t_f final warm-up steps:
      t <= t_i        r = 1, no mask
      t > T - t_f     r = 1 - sparsity, a mask after every step
      between         cubic, the paper's: r = rT + (1 - rT) * (1 - (t - t_i) / (T - t_i - t_f))^3, a mask every
                      `interval` steps; one_shot and constant: as in the final phase
    """

    sparsity_target: float
    total: int
    initial: int
    final: int
    interval: int
    shape: str = "cubic"
    freeze: int = 0
    reference: bool = False  # the authors count 1 - r, which is an ulp off the sparsity for some of them

    @classmethod
    def of(cls, config: PruneConfig) -> "Schedule":
        """The schedule of a config, whose `total_steps` must be known."""
        full = config.resolved()
        assert full.total_steps is not None  # noqa: S101 - resolved() has just filled these
        assert full.initial_warmup_steps is not None and full.final_warmup_steps is not None  # noqa: S101, PT018
        return cls(
            full.sparsity,
            full.total_steps,
            full.initial_warmup_steps,
            full.final_warmup_steps,
            full.mask_interval,
            full.schedule,
            full.freeze_steps,
            full.reference_compat,
        )

    @property
    def remaining_target(self) -> float:
        """1 - sparsity, rounded so that 1 - 0.9 is 0.1 and not 0.09999999999999998."""
        return round(1.0 - self.sparsity_target, 15)

    def is_final(self, step: int) -> bool:
        """True in the last phase, in which every step ends with a mask at the full sparsity."""
        return step > self.last_before_final

    @property
    def last_before_final(self) -> int:
        """The last step before the full sparsity is reached."""
        return self.initial if self.shape != "cubic" else max(self.initial, self.total - self.final)

    @property
    def first_mask(self) -> int:
        """The first step that ends with a mask; the first window must be complete by then."""
        first = max(self.initial + 1, self.interval)
        in_step = -(-first // self.interval) * self.interval
        return min(in_step, max(first, self.last_before_final + 1))

    def is_frozen(self, step: int) -> bool:
        """True when an existing mask is kept as it is: near the end, and always in one_shot."""
        return step > self.total - self.freeze or (self.shape == "one_shot" and step > self.initial)

    def remaining(self, step: int) -> float:
        """r(t): share of the prunable weights that may stay."""
        if step <= self.initial:
            return 1.0
        if self.is_final(step):
            return self.remaining_target
        progress = (step - self.initial) / (self.total - self.initial - self.final)
        return self.remaining_target + (1.0 - self.remaining_target) * (1 - progress) ** 3

    def sparsity(self, step: int) -> float:
        """1 - r(t); exactly the configured sparsity from the moment r has arrived."""
        remaining = self.remaining(step)
        arrived = remaining == self.remaining_target and not self.reference
        return self.sparsity_target if arrived else 1.0 - remaining

    def masks_at(self, step: int) -> bool:
        """Whether a mask is applied after step t."""
        if step <= self.initial:
            return False
        return self.is_final(step) or step % self.interval == 0
