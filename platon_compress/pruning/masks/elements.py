"""Turns scores into masks of single weights. Masks with a pattern are in `blocks`, whole units in `groups`."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from platon_compress.pruning.bounds import Bounds
from platon_compress.pruning.importance import Importance
from platon_compress.pruning.masks.arrays import Scratch, chunks, count_true, drop_first, flat, local, on_host
from platon_compress.pruning.masks.shards import Shards
from platon_compress.pruning.masks.threshold import (
    SAMPLE_STRIDE,
    Cut,
    select_between,
    select_capped,
    select_each,
)

__all__ = ["ElementMasks", "Masks", "Ranking", "ReferenceMasks"]

_SMALL, _PACK = 1 << 16, 1 << 18
_SAMPLED = 1 << 20  # from here on a sample narrows the search


@dataclass(frozen=True)
class Ranking:
    """One ranking: the score cut, and how many weights changed sides since the one before."""

    threshold: float
    flipped: int
    regrown: int


class Masks:
    """One bool per prunable weight, True = kept, and their application to the weights.

    Of sharded weights a rank keeps the bools of its own rows; `size` and every count are of all ranks together,
    so all of them must ask.

    counts_weights: whether a sparsity is a share of the weights.
    """

    counts_weights: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, Tensor], importance: Importance, scratch: Scratch) -> None:
        self._weights = weights
        self._importance = importance
        self._scratch = scratch
        self.shards = Shards(weights)
        self.kept = {
            name: torch.ones(local(weight).shape, dtype=torch.bool, device=local(weight).device)
            for name, weight in weights.items()
        }
        self.size = sum(weight.numel() for weight in weights.values())
        self.device = next(iter(self.kept.values())).device

    def count(self, sparsity: float) -> int:
        """How many weights a sparsity takes away: floor(size * sparsity)."""
        return int(self.size * sparsity)

    def count_kept(self) -> dict[str, int]:
        """Weights kept, by parameter."""
        counts = self.shards.sums([count_true(mask) for mask in self.kept.values()])
        return dict(zip(self.kept, counts, strict=True))

    def rank(self, count: int) -> Ranking:
        """Masks `count` weights, those with the smallest scores."""
        raise NotImplementedError

    def count_zeros(self) -> int:
        """Zeros in the weights themselves."""
        pieces = (w for weight in self._weights.values() for (w,) in chunks(flat(weight)))
        return self.shards.sums([sum((self._zeros_in(w) for w in pieces), start=0)])[0]

    def apply(self) -> int:
        """Sets the masked weights to zero; returns how many zeros the weights then hold."""
        zeros: Tensor | int = 0
        for name, parameter in self._weights.items():
            weight = local(parameter)
            if not weight.is_contiguous():
                weight.masked_fill_(~self.kept[name], 0)
                zeros = zeros + self._zeros_in(flat(weight))
                continue
            for w, kept in chunks(flat(weight), flat(self.kept[name])):
                _zero_out(w, kept)
                zeros = zeros + self._zeros_in(w)  # while the piece is in the cache
        return self.shards.sums([zeros])[0]

    def _whole_scores(self, name: str) -> Tensor:
        """The scores of one weight in its shape here, in a buffer that the next call reuses."""
        weight = local(self._weights[name])
        whole, filled = self._scratch.room("whole", weight.numel(), self.device), 0
        for piece in self._importance.scores(name):
            whole[filled : filled + len(piece)] = piece
            filled += len(piece)
        return whole.view(weight.shape)

    def _replace(self, kept: Tensor, new: Tensor, moved: Tensor) -> None:
        """Takes over a new piece of mask; `moved` gathers the numbers flipped and regrown on the device."""
        changed = torch.ne(new, kept, out=self._scratch.get("changed", new, torch.bool))
        moved[0] += count_true(changed)
        moved[1] += count_true(changed.logical_and_(new))
        kept.copy_(new)

    def _zeros_in(self, weight: Tensor) -> Tensor | int:
        """A conversion to bool costs a third of a comparison with 0 here, and takes every dtype."""
        nonzero = self._scratch.get("changed", weight, torch.bool).copy_(weight)
        return weight.numel() - count_true(nonzero)


@dataclass(frozen=True)
class _Loss:
    """Names ranked together: what scores below their cut goes, and `spare` of the scores that equal it."""

    names: Sequence[str]
    cut: Cut
    spare: int

    @property
    def is_partial(self) -> bool:
        """Whether some of the ties go and some do not."""
        return 0 < self.spare < self.cut.ties

    @property
    def quota(self) -> int | None:
        """Ties that go of each weight, None for all, unless `is_partial`."""
        return None if self.spare == self.cut.ties else 0


_NOTHING = Cut(-math.inf, 0, 0)


class ElementMasks(Masks):
    """Rankings of single weights; ties fall in ranking order until the count is reached exactly.

    `partition` maps each name to the ranking it takes part in; by default there is one for all. Each ranking
    loses the same share of its weights. `bounds` are the limits of what a single one of `weights` loses. `costs` divide the
    scores of a name, see `platon_compress.pruning.costs`.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        importance: Importance,
        scratch: Scratch,
        partition: Mapping[str, str] | None = None,
        bounds: Bounds | None = None,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(weights, importance, scratch)
        self._bounds = bounds
        self._costs = costs or {}
        self._rankings: dict[str, list[str]] = {}
        for name in weights:
            self._rankings.setdefault(partition[name] if partition else "", []).append(name)

    def rank(self, count: int) -> Ranking:
        """Masks exactly `count` weights. The threshold is the largest score among them."""
        losses = self._shared(count) if self._bounds is None else self._bounded(count, self._bounds)
        moved = torch.zeros(2, dtype=torch.int64, device=self.device)
        quotas = self._quotas(losses)
        for loss, own in zip(losses, quotas, strict=True):
            for name, quota in zip(loss.names, own, strict=True):
                self._write(name, loss.cut.value, quota, moved)
        flipped, regrown = self.shards.add_up(moved).tolist()
        return Ranking(max(loss.cut.value for loss in losses), flipped, regrown)

    def _shared(self, count: int) -> list[_Loss]:
        """Every ranking loses its share; the shares add up to `count`."""
        rankings = list(self._rankings.values())
        shares = apportion(count, [self._numel(names) for names in rankings])
        return self._exactly(list(zip(rankings, shares, strict=True)))

    def _exactly(self, wanted: Sequence[tuple[Sequence[str], int]]) -> list[_Loss]:
        """Of each group of names the smallest scores, so many."""
        ranked = [(names, count) for names, count in wanted if count]
        spared = [_Loss(names, _NOTHING, 0) for names, count in wanted if not count]
        return spared + [
            _Loss(names, cut, self._ties_to_mask(cut, count))
            for (names, count), cut in zip(ranked, self._cuts(ranked), strict=True)
        ]

    def _bounded(self, count: int, bounds: Bounds) -> list[_Loss]:
        """Each weight loses what lies below one cut for all, but at least and at most what its bounds say."""
        least, most = bounds.limits(count)
        names = list(self._weights)
        count = min(count, sum(most))  # a bound that equals the sparsity is rounded down by weight
        if count == sum(least):
            return self._exactly([([name], own) for name, own in zip(names, least, strict=True)])
        passes = [self._passes([name]) for name in names]
        cuts = select_capped(passes, count, (least, most), self._scratch, **self._search)
        certain = [min(max(cut.below, low), high) for cut, low, high in zip(cuts, least, most, strict=True)]
        spare, losses, others = count - sum(certain), [], []
        for name, cut, own, high in zip(names, cuts, certain, most, strict=True):
            if not cut.below <= own <= cut.below + cut.ties:
                others.append(([name], own))
                continue
            more = min(cut.below + cut.ties - own, high - own, spare)
            spare -= more
            losses.append(_Loss([name], cut, own + more - cut.below))
        return losses + self._exactly(others)

    def _quotas(self, losses: Sequence[_Loss]) -> list[list[int | None]]:
        """How many ties of each weight go here, None for all; costs a pass where some go and some do not."""
        groups = [
            ([self._count_ties(name, loss.cut.value) for name in loss.names], loss.spare)
            for loss in losses
            if loss.is_partial
        ]
        found = iter(self.shards.tie_quotas(groups) if groups else [])
        return [next(found) if loss.is_partial else [loss.quota] * len(loss.names) for loss in losses]

    def _count_ties(self, name: str, value: float) -> int | Tensor:
        return sum((count_true(score == value) for score in self._scores(name)), start=0)

    def _numel(self, names: Sequence[str]) -> int:
        return sum(self._weights[name].numel() for name in names)

    def _scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """The scores to rank by, per second of run time where costs are known."""
        cost = self._costs.get(name)
        for score in self._importance.scores(name, stride):
            yield score if cost is None else score.div_(cost)

    def _cuts(self, rankings: Sequence[tuple[Sequence[str], int]]) -> list[Cut]:
        """Of each ranking the cut below which that many lie; off the host all are found together."""
        if on_host(self.device) and not self.shards.active:
            return [self._cut(names, count) for names, count in rankings]
        if not rankings:
            return []
        passes, counts = [self._passes(names) for names, _ in rankings], [count for _, count in rankings]
        return select_each(passes, counts, self._scratch, **self._search)

    def _cut(self, names: Sequence[str], count: int) -> Cut:
        if (size := self._numel(names)) > _SAMPLED:
            sample = (p for name in names for p in self._scores(name, SAMPLE_STRIDE))
            cut = select_between(self._passes(names), sample, count, size, self._scratch)
            if cut is not None:
                return cut
        return select_each([self._passes(names)], [count], self._scratch, **self._search)[0]

    @property
    def _search(self) -> dict[str, Any]:
        return {"device": self.device, "signed": self._importance.signed, "reduce": self.shards.add_up}

    def _write(self, name: str, value: float, quota: int | None, moved: Tensor) -> None:
        """Masks a weight's scores below the value, and the first `quota` of those that equal it (None: all)."""
        beyond = torch.gt if quota is None else torch.ge
        left = moved.new_full((), quota or 0)
        for score, (kept,) in zip(self._scores(name), chunks(flat(self.kept[name])), strict=True):
            new = beyond(score, value, out=self._scratch.get("kept", score, torch.bool))
            if quota:
                drop_first(new, score == value, left)
            self._replace(kept, new, moved)

    def _ties_to_mask(self, cut: Cut, count: int) -> int:
        return count - cut.below

    def _passes(self, names: Sequence[str]) -> Callable[[], Iterator[Tensor]]:
        return lambda: self._pieces(names)

    def _pieces(self, names: Sequence[str]) -> Iterator[Tensor]:
        """Every score once; small weights share a piece, since a piece costs a histogram of 2^16 counts."""
        pack, filled = self._scratch.room("pack", _PACK, self.device), 0
        for piece in (piece for name in names for piece in self._scores(name)):
            if len(piece) > _SMALL:
                yield piece
                continue
            if filled + len(piece) > _PACK:
                yield pack[:filled]
                filled = 0
            pack[filled : filled + len(piece)] = piece
            filled += len(piece)
        yield pack[:filled]


def apportion(count: int, sizes: Sequence[int]) -> list[int]:
    """Splits `count` in proportion to `sizes`: floors, then one more where the remainder is largest."""
    total = sum(sizes)
    shares = [count * size // total for size in sizes]
    by_remainder = sorted(range(len(sizes)), key=lambda i: (-(count * sizes[i] % total), i))
    for index in by_remainder[: count - sum(shares)]:
        shares[index] += 1
    return shares


class ReferenceMasks(ElementMasks):
    """The authors' rule: `score < threshold` goes, so the k-th smallest and everything equal to it stay."""

    def _ties_to_mask(self, cut: Cut, count: int) -> int:
        return 0


_SAME_SIZE: dict[int, torch.dtype] = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _zero_out(weight: Tensor, kept: Tensor) -> None:
    """In place. Multiplying the bits leaves +0 where a float product would leave -0 (or NaN), and is faster
    than masked_fill_."""
    weight.view(_SAME_SIZE[weight.element_size()]).mul_(kept)
