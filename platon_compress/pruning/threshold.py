"""The exact k-th smallest of many scores, without ever holding them together.

Two ways to the same answer. `select_smallest` counts: non-negative float32 numbers order like their bit patterns,
so two passes of counting, on the upper and on the lower 16 bits, pin the k-th smallest down; the only state is a
histogram of 65,536 counts. `select_between` samples first: a few scores tell between which two values the k-th
smallest must lie, one pass counts what is below and collects what is between, and the answer is among those. It is
about three times cheaper on a CPU, and gives up (None) when the sample misled or ties are many.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from platon_compress.pruning.arrays import Scratch

__all__ = ["SAMPLE_STRIDE", "Cut", "select_between", "select_smallest"]

_BINS = 1 << 16

# No power of two and prime, so that a sample does not fall into the same few columns of every matrix.
SAMPLE_STRIDE = 61


@dataclass(frozen=True)
class Cut:
    """Where the k smallest scores end.

    value: the k-th smallest score.
    below: how many scores are strictly smaller.
    ties: how many equal it.
    """

    value: float
    below: int
    ties: int


def select_smallest(
    scores: Callable[[], Iterator[Tensor]],
    k: int,
    scratch: Scratch,
    *,
    signed: bool = False,
    reduce: Callable[[Tensor], object] | None = None,
) -> Cut:
    """The cut below which exactly k scores lie, ties included, for 1 <= k <= number of scores.

    `scores` starts a fresh pass over flat float32 pieces, free of NaN, and without negative numbers or -0
    unless `signed`; it is called twice, and the pieces are overwritten. `reduce` sums a histogram over the
    ranks of a distributed run, in place.
    """

    def keys() -> Iterator[Tensor]:
        for piece in scores():
            yield _signed_keys(piece, scratch) if signed else piece.view(torch.int32)

    upper = _histogram(keys, _upper_bits, reduce)
    high, before = _locate(upper, k)
    lower = _histogram(keys, lambda bits: _lower_bits(bits, high), reduce)
    low, inside = _locate(lower[1:-1], k - before)
    key = ((high - _BINS // 2) << 16) | low
    return Cut(_value(key), before + inside, int(lower[1 + low]))


def select_between(
    scores: Callable[[], Iterator[Tensor]],
    sample: Iterator[Tensor],
    k: int,
    size: int,
    scratch: Scratch,
) -> Cut | None:
    """As `select_smallest`, for `size` scores on a CPU; `sample` holds about one in SAMPLE_STRIDE of them."""
    low, high = _bracket(np.concatenate([piece.numpy().copy() for piece in sample]), k / size)
    below, found, room = 0, [], size // 16
    for piece in scores():
        inside = scratch.get(
            "kept", piece, torch.bool
        ).numpy()  # NumPy compares three times faster than torch
        upper = scratch.get("changed", piece, torch.bool).numpy()
        values = piece.numpy()
        below += len(values) - int(np.count_nonzero(np.greater_equal(values, np.float32(low), out=inside)))
        np.logical_and(inside, np.less_equal(values, np.float32(high), out=upper), out=inside)
        found.append(values[np.flatnonzero(inside)])
        room -= len(found[-1])
        if room < 0:
            return None
    candidates = np.concatenate(found)
    if not below < k <= below + len(candidates):
        return None
    value = np.partition(candidates, k - below - 1)[k - below - 1]
    return Cut(float(value), below + int((candidates < value).sum()), int((candidates == value).sum()))


def _bracket(sample: np.ndarray, share: float) -> tuple[float, float]:
    """Values around the quantile, 5 standard deviations of a random sample's rank to either side."""
    size = len(sample)
    margin = 5 * int(np.sqrt(size * share * (1 - share)) + 1)
    first, last = int(share * size) - margin, int(share * size) + margin
    inner = [rank for rank in (first, last) if 0 <= rank < size]
    ordered = np.partition(sample, inner) if inner else sample
    return (
        float(ordered[first]) if first >= 0 else -np.inf,
        float(ordered[last]) if last < size else np.inf,
    )


def _histogram(
    keys: Callable[[], Iterator[Tensor]],
    bins_of: Callable[[Tensor], Tensor],
    reduce: Callable[[Tensor], object] | None,
) -> Tensor:
    total: Tensor | None = None
    for piece in keys():
        counts = _count(bins_of(piece), _BINS + 2)
        total = counts if total is None else total.add_(counts)
    if total is None:
        total = torch.zeros(_BINS + 2, dtype=torch.int64)
    if reduce is not None:
        reduce(total)
    return total


def _signed_keys(scores: Tensor, scratch: Scratch) -> Tensor:
    """int32 in the order of the scores: negative numbers have their magnitude bits flipped; -0 equals 0."""
    keys = scores.add_(0.0).view(torch.int32)
    flip = torch.bitwise_right_shift(keys, 31, out=scratch.get("flip", scores, torch.int32))
    return keys.bitwise_xor_(flip.bitwise_and_(0x7FFFFFFF))


def _upper_bits(keys: Tensor) -> Tensor:
    return keys.bitwise_right_shift_(16).add_(_BINS // 2)


def _lower_bits(keys: Tensor, high: int) -> Tensor:
    """1 + the lower bits where the upper ones are `high`; 0 below, the last bin above."""
    floor = (high - _BINS // 2) << 16
    # Clamping first keeps the subtraction inside int32.
    keys.clamp_(max(floor - 1, -(1 << 31)), min(floor + _BINS, (1 << 31) - 1))
    return keys.sub_(floor - 1)


def _count(bins: Tensor, size: int) -> Tensor:
    if bins.device.type == "cpu":
        return torch.bincount(bins, minlength=size)
    # bincount would wait for the device to learn its largest bin.
    counts = torch.zeros(size, dtype=torch.int64, device=bins.device)
    return counts.index_add_(0, bins, torch.ones((), dtype=torch.int64, device=bins.device).expand(len(bins)))


def _locate(counts: Tensor, k: int) -> tuple[int, int]:
    """The bin that holds the k-th smallest, and how many lie in the bins before it."""
    running = counts.cumsum(0)
    index = int(torch.searchsorted(running, k))
    return index, int(running[index - 1]) if index else 0


def _value(key: int) -> float:
    bits = key if key >= 0 else key ^ 0x7FFFFFFF
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))
