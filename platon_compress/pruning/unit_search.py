"""How many units each half block keeps, so that the model runs in a given time and loses least.

ZipLM's problem (Kurtic, Frantar, Alistarh, NeurIPS 2023, arXiv 2302.04089): for every half block i choose a count c_i to
minimise sum_i loss_i(c_i) subject to sum_i seconds_i(c_i) <= budget. It is solved by dynamic programming over time, in
BUCKETS equal parts of the budget; seconds are rounded up to whole parts, so the result keeps the budget, and gives away at
most one part a half block (24 of 10,000 in an encoder of 12 layers).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from platon_compress.errors import InputError

__all__ = ["BUCKETS", "Choice", "least_loss"]

BUCKETS = 10_000


@dataclass(frozen=True)
class Choice:
    """Indices of the chosen options, their sums, and how many sums the search compared."""

    picks: tuple[int, ...]
    loss: float
    seconds: float
    compared: int


def least_loss(losses: Sequence[np.ndarray], seconds: Sequence[np.ndarray], budget: float) -> Choice:
    """One option of every item, all `seconds` together at most `budget`, the `losses` together least.

    `losses[i]` and `seconds[i]` are float [options of item i]. Equal losses go to the earlier option.
    Raises InputError when the fastest options together exceed the budget.
    """
    fastest = sum(float(times.min()) for times in seconds)
    if fastest > budget:
        raise InputError(
            f"no choice takes at most {budget:.4g} seconds, the fastest takes {fastest:.4g}; allow more"
        )
    free = tuple(int(loss.argmin()) for loss in losses)
    if sum(float(times[pick]) for times, pick in zip(seconds, free, strict=True)) <= budget * (1 + 1e-9):
        return _chosen(free, losses, seconds, sum(map(len, losses)))
    part = max(budget / BUCKETS, np.finfo(float).tiny)
    with np.errstate(over="ignore"):
        parts = [np.minimum(np.ceil(times / part - 1e-9), BUCKETS + 1).astype(np.int64) for times in seconds]
    # best[t]: least loss of the items so far in at most t parts
    best = np.zeros(BUCKETS + 1)
    taken = np.zeros((len(losses), BUCKETS + 1), dtype=np.int16)
    compared = 0
    for item, (loss, needs) in enumerate(zip(losses, parts, strict=True)):
        options = np.full((len(loss), BUCKETS + 1), np.inf)
        for option, (lost, needed) in enumerate(zip(loss, needs, strict=True)):
            if needed <= BUCKETS:
                options[option, needed:] = best[: BUCKETS + 1 - needed] + lost
        taken[item] = options.argmin(0)
        best = options.min(0)
        compared += options.size
    # Where the budget is the fastest choice itself, parts rounded up exceed it.
    within = np.isfinite(best[-1])
    picks = _walk_back(taken, parts) if within else tuple(int(times.argmin()) for times in seconds)
    return _chosen(picks, losses, seconds, compared)


def _chosen(
    picks: tuple[int, ...], losses: Sequence[np.ndarray], seconds: Sequence[np.ndarray], compared: int
) -> Choice:
    return Choice(
        picks,
        float(sum(loss[pick] for loss, pick in zip(losses, picks, strict=True))),
        float(sum(times[pick] for times, pick in zip(seconds, picks, strict=True))),
        compared,
    )


def _walk_back(taken: np.ndarray, parts: Sequence[np.ndarray]) -> tuple[int, ...]:
    left, picks = BUCKETS, []
    for item in reversed(range(len(parts))):
        pick = int(taken[item, left])
        picks.append(pick)
        left -= int(parts[item][pick])
    return tuple(reversed(picks))
