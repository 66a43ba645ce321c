"""The exact k-th smallest of many scores, without ever holding them together.

Two ways to the same answer. `select_smallest` and its relatives count: non-negative float32 numbers order like their
bit patterns, so passes of counting, on the upper bits, then on those below them, pin the k-th smallest down; the only
state is a histogram of each ranking, and nothing is read back from a device before the end. `select_between` samples
first: a few scores tell between which two values the k-th smallest must lie, one pass counts what is below and
collects what is between, and the answer is among those. It is about three times cheaper on a CPU, and gives up (None)
when the sample misled or ties are many.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from platon_compress.pruning.masks.arrays import Scratch, on_host

__all__ = ["SAMPLE_STRIDE", "Cut", "select_between", "select_capped", "select_each", "select_smallest"]

Scores = Callable[[], Iterator[Tensor]]
Reduce = Callable[[Tensor], object]

# Bits told apart per pass. Many rankings at once get fewer bins, so that all histograms together stay small.
_ONE, _MANY = (16, 16), (11, 11, 10)

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
    scores: Scores,
    k: int,
    scratch: Scratch,
    *,
    device: torch.device | None = None,
    signed: bool = False,
    reduce: Reduce | None = None,
) -> Cut:
    """The cut below which exactly k scores lie, ties included, for 1 <= k <= number of scores.

    `scores` starts a fresh pass over flat float32 pieces on `device`, free of NaN, and without negative numbers or
    -0 unless `signed`; it is called once per pass, and the pieces are overwritten. `reduce` sums a histogram over
    the ranks of a distributed run, in place.
    """
    return select_each([scores], [k], scratch, device=device, signed=signed, reduce=reduce)[0]


def select_each(
    rankings: Sequence[Scores],
    ks: Sequence[int],
    scratch: Scratch,
    *,
    device: torch.device | None = None,
    signed: bool = False,
    reduce: Reduce | None = None,
) -> list[Cut]:
    """`select_smallest` of several rankings; read back once, and reduced once per pass, for all of them."""
    wanted = torch.tensor(ks, device=device)[:, None]
    rows = _search(
        rankings, lambda running: torch.searchsorted(running, wanted), _Keys(scratch, signed), device, reduce
    )
    return [Cut(_value(key), below, ties) for key, below, ties in rows]


def select_capped(
    members: Sequence[Scores],
    k: int,
    limits: tuple[Sequence[int], Sequence[int]],
    scratch: Scratch,
    *,
    device: torch.device | None = None,
    signed: bool = False,
    reduce: Reduce | None = None,
) -> list[Cut]:
    """The k-th smallest of one ranking to which each member adds at least and at most so many of its smallest scores.

    `limits` are the least and the most by member; k is above the sum of the least and at most that of the most. One cut
    per member, all of the same value, with the member's own scores below it and ties, whatever its limits.
    """
    least, most = (torch.tensor(bound, device=device)[:, None] for bound in limits)

    def find(running: Tensor) -> Tensor:
        together = running.clamp(least, most).sum(0)
        return torch.searchsorted(together, k).expand(len(running), 1)

    rows = _search(members, find, _Keys(scratch, signed), device, reduce)
    return [Cut(_value(key), below, ties) for key, below, ties in rows]


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


@dataclass(frozen=True)
class _Keys:
    """Turns scores into int32 of the same order, in place."""

    scratch: Scratch
    signed: bool

    def __call__(self, scores: Tensor) -> Tensor:
        """Negative numbers have their magnitude bits flipped; -0 equals 0."""
        if not self.signed:
            return scores.view(torch.int32)
        keys = scores.add_(0.0).view(torch.int32)
        flip = torch.bitwise_right_shift(keys, 31, out=self.scratch.get("flip", scores, torch.int32))
        return keys.bitwise_xor_(flip.bitwise_and_(0x7FFFFFFF))


def _search(
    rankings: Sequence[Scores],
    find: Callable[[Tensor], Tensor],
    keys_of: _Keys,
    device: torch.device | None,
    reduce: Reduce | None,
) -> list[list[int]]:
    """Key, number below and number of ties of the bins that `find` picks.

    `find` gets the running counts [rankings, bins] of a pass, those below the range of the pass included, and
    returns one bin each, [rankings, 1].
    """
    floor = torch.full((len(rankings), 1), -(1 << 31), dtype=torch.int64, device=device)
    shift = 32
    for width in _ONE if len(rankings) == 1 else _MANY:
        shift -= width
        table = floor.new_zeros(len(rankings), (1 << width) + 2)
        for scores, lowest, counts in zip(rankings, floor, table, strict=True):
            for piece in scores():
                _add_counts(counts, _bins(keys_of(piece), lowest, shift, width))
        if reduce is not None:
            reduce(table)
        running = table.cumsum(1)
        found = find(running)
        floor += (found - 1) << shift
    found_rows: list[list[int]] = torch.cat(
        [floor, running.gather(1, found - 1), table.gather(1, found)], 1
    ).tolist()
    return found_rows


def _bins(keys: Tensor, floor: Tensor, shift: int, width: int) -> Tensor:
    """1 + the `width` bits above `shift` of keys that begin like `floor`; 0 below these, the last bin above."""
    span = 1 << (shift + width)
    if span == 1 << 32:
        return keys.bitwise_right_shift_(shift).add_((1 << (width - 1)) + 1)
    # Clamping first keeps the subtraction inside int32.
    lowest, highest = (floor - 1).clamp_min(-(1 << 31)), (floor + span).clamp_max((1 << 31) - 1)
    torch.maximum(keys, lowest.int(), out=keys)
    torch.minimum(keys, highest.int(), out=keys)
    return keys.sub_(floor.int()).bitwise_right_shift_(shift).add_(1)


def _add_counts(counts: Tensor, bins: Tensor) -> None:
    if on_host(bins.device):
        counts += torch.bincount(bins, minlength=len(counts))
        return
    # bincount would wait for the device to learn its largest bin.
    one = torch.ones((), dtype=torch.int64, device=bins.device)
    counts.index_add_(0, bins, one.expand(len(bins)))


def _value(key: int) -> float:
    bits = key if key >= 0 else key ^ 0x7FFFFFFF
    return float(np.int32(bits).view(np.float32))
