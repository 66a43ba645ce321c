"""The sparsity at each step, and the steps at which masks are applied."""

from dataclasses import dataclass

from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.family import Hold, holds_of

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """The schedule over optimiser steps t = 1, 2, ...; held masks are in the final phase from t = 1 on.

    Remaining ratio r(t), with T total, t_i initial and t_f final warm-up steps:
      t <= t_i        r = 1, no mask
      t > T - t_f     r = 1 - sparsity, a mask after every step
      between         cubic, the paper's: r = rT + (r0 - rT) * (1 - (t - t_i) / (T - t_i - t_f))^3, a mask every
                      `interval` steps, r0 = 1 - `start`; one_shot and constant: as in the final phase

    A family stops in its holds (`platon_compress.pruning.family`); t is then counted without the steps of holds, and
    T without those of all but the last.
    """

    sparsity_target: float
    total: int
    initial: int
    final: int
    interval: int
    shape: str = "cubic"
    freeze: int = 0
    reference: bool = False  # the authors count 1 - r, which is an ulp off the sparsity for some of them
    holds: tuple[Hold, ...] = ()
    start: float = 0.0  # sparsity at which the rise begins

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
            _holds(full),
            full.start_sparsity,
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
        """The first step that ends with a mask; the first window must be complete by then, if anything is ranked."""
        if self.shape == "held":
            return 1
        first = max(self.initial + 1, self.interval)
        in_step = -(-first // self.interval) * self.interval
        every_step = self.holds[0].first if self.holds else self.last_before_final + 1
        return min(in_step, max(first, every_step))

    def is_frozen(self, step: int) -> bool:
        """True when a mask of that sparsity is kept as it is: near the end, in holds, and always in one_shot."""
        if self.hold_at(step) is not None or self.shape == "held":
            return True
        return step > self.total - self.freeze or (self.shape == "one_shot" and step > self.initial)

    def needs_scores(self, step: int) -> bool:
        """False once no mask will be ranked any more."""
        if self.holds:
            return step < self.holds[-1].first
        return not self.is_frozen(step)

    def hold_at(self, step: int) -> Hold | None:
        """The hold that step t lies in."""
        return next((hold for hold in self.holds if step in hold), None)

    def remaining(self, step: int) -> float:
        """r(t): share of the prunable weights that may stay."""
        if step <= self.initial:
            return 1.0
        if self.is_final(step):
            return self.remaining_target
        if (hold := self.hold_at(step)) is not None:
            return round(1.0 - hold.sparsity, 15)
        held = sum(hold.steps for hold in self.holds if hold.last < step)
        pauses = sum(hold.steps for hold in self.holds[:-1])
        progress = (step - held - self.initial) / (self.total - pauses - self.initial - self.final)
        risen = (1.0 - self.start) - self.remaining_target
        return self.remaining_target + risen * (1 - progress) ** 3

    def sparsity(self, step: int) -> float:
        """1 - r(t); exactly the configured sparsity from the moment r has arrived, and in holds."""
        if (hold := self.hold_at(step)) is not None:
            return hold.sparsity
        remaining = self.remaining(step)
        arrived = remaining == self.remaining_target and not self.reference
        return self.sparsity_target if arrived else 1.0 - remaining

    def masks_at(self, step: int) -> bool:
        """Whether a mask is applied after step t."""
        if step <= self.initial:
            return False
        return self.is_final(step) or self.hold_at(step) is not None or step % self.interval == 0


def _holds(full: PruneConfig) -> tuple[Hold, ...]:
    """Of a resolved config; none without a family."""
    if full.family is None:
        return ()
    assert full.total_steps is not None and full.hold_steps is not None  # noqa: S101, PT018 - resolved() has filled these
    assert full.initial_warmup_steps is not None and full.final_warmup_steps is not None  # noqa: S101, PT018
    return holds_of(
        full.family,
        total=full.total_steps,
        initial=full.initial_warmup_steps,
        final=full.final_warmup_steps,
        hold_steps=full.hold_steps,
        start=full.start_sparsity,
    )
