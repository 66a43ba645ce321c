"""A family: one run that holds at several sparsities and gives a finished model at each.

Rules, with N the steps of a run at one sparsity (`PruneConfig.single_steps`), t_i and t_f its warm-ups, k members
s_1 < ... < s_k = sparsity, r = 1 - s:

1. The sparsity rises exactly as in a run of N steps to s_k, over the N - t_i - t_f steps in between, and stops rising for
   H = `hold_steps` steps where it reaches s_i: after the step floor((N - t_i - t_f) p_i) of the rise, with p_i from
   r_i = r_k + (r_0 - r_k) (1 - p_i)^3, r_0 = 1 - `start_sparsity`. The last hold are the t_f steps at the end. So
   T = N + (k - 1) H steps in all.
2. By default (k - 1) H is a fifth of N per member before the last, at most 0.6 N: T is at most 1.6 N.
3. In a hold the mask is ranked once, at its first step, and applied after every step; the scores go on, because the next
   rise needs them.
4. With `rewind_to`, the rate l(e) of a schedule over T steps becomes, at scheduler step e with h steps of holds before
   it: l((e - h) T / N) in a rise, as it would be at that place of the run of N steps; and in a hold of H steps that
   begins at e_0 it runs from l(R) to l(T): l(R + (e - e_0) (T - R) / H), R the earlier of `rewind_to` T and where the
   rise has left off. After a hold it is back where the rise had left off.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

from platon_compress.errors import InputError

__all__ = ["Hold", "hold_steps_of", "holds_of", "single_steps"]

_SHARE, _MOST = 0.2, 0.6


@dataclass(frozen=True)
class Hold:
    """Steps `first` to `last` at `sparsity`; `held` steps of holds lie before it."""

    sparsity: float
    first: int
    last: int
    held: int

    def __contains__(self, step: int) -> bool:
        return self.first <= step <= self.last

    @property
    def steps(self) -> int:
        """Its length."""
        return self.last - self.first + 1


def hold_steps_of(single: int, members: int) -> int:
    """H by default, for a run of N = `single` steps (rule 2)."""
    return math.floor(single * _share(members) / (members - 1) + 1e-9) if members > 1 else 0


def single_steps(total: int, members: int, hold_steps: int | None) -> int:
    """N of a run of `total` steps with so many members."""
    if hold_steps is not None:
        return total - (members - 1) * hold_steps
    before = members - 1
    return total - before * ((total - round(total / (1 + _share(members)))) // before) if before else total


def _share(members: int) -> float:
    """Steps of all holds but the last as a share of N."""
    return min(_SHARE * (members - 1), _MOST)


def holds_of(
    family: tuple[float, ...],
    *,
    total: int,
    initial: int,
    final: int,
    hold_steps: int,
    start: float = 0.0,
) -> tuple[Hold, ...]:
    """The holds of a run in order; the last one ends with it. `start`: the sparsity at which the rise begins.

    Raises InputError when the rise is too short to stop at every member.
    """
    rise = total - (len(family) - 1) * hold_steps - initial - final
    target = 1 - family[-1]
    holds = []
    for number, sparsity in enumerate(family):
        last = number == len(family) - 1
        share = ((1 - sparsity - target) / (1 - start - target)) ** (1 / 3)
        risen = rise if last else math.floor(rise * (1 - share) + 1e-9)
        held = number * hold_steps
        first = initial + risen + held + 1
        holds.append(Hold(sparsity, first, first + (final if last else hold_steps) - 1, held))
    starts = [initial, *(hold.first - 1 - hold.held for hold in holds)]
    if any(after <= before for before, after in pairwise(starts)):
        raise InputError(
            f"the sparsity rises in {rise} steps, too few to hold at each of {', '.join(f'{s:g}' for s in family)}; train "
            "longer, or name fewer sparsities that lie farther apart"
        )
    return tuple(holds)
