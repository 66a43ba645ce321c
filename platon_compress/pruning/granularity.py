"""Turns scores into masks: single weights, or whole attention heads and FFN neurons."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.arrays import CHUNK, Scratch, chunks, count_true, flat, local
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.importance import Importance
from platon_compress.pruning.shards import Shards
from platon_compress.pruning.threshold import SAMPLE_STRIDE, Cut, select_between, select_smallest
from platon_compress.structure import Coupling

__all__ = ["ElementMasks", "GroupMasks", "Masks", "Ranking", "ReferenceMasks", "coupled_names"]


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
    """

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

    def _zeros_in(self, weight: Tensor) -> Tensor | int:
        """A conversion to bool costs a third of a comparison with 0 here, and takes every dtype."""
        nonzero = self._scratch.get("changed", weight, torch.bool).copy_(weight)
        return weight.numel() - count_true(nonzero)


class ElementMasks(Masks):
    """Rankings of single weights; ties fall in ranking order until the count is reached exactly.

    `partition` maps each name to the ranking it takes part in; by default there is one for all. Each ranking
    loses the same share of its weights. `bound` caps the share that a single weight loses. `costs` divide the
    scores of a name, see `platon_compress.pruning.costs`.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        importance: Importance,
        scratch: Scratch,
        partition: Mapping[str, str] | None = None,
        bound: float | None = None,
        costs: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(weights, importance, scratch)
        self._bound = bound
        self._costs = costs or {}
        self._rankings: dict[str, list[str]] = {}
        for name in weights:
            self._rankings.setdefault(partition[name] if partition else "", []).append(name)

    def rank(self, count: int) -> Ranking:
        """Masks exactly `count` weights. The threshold is the largest score among them."""
        moved = torch.zeros(2, dtype=torch.int64, device=self.device)
        thresholds = [
            self._rank(names, share, moved) for names, share in self._shares(count).items() if names
        ]
        flipped, regrown = self.shards.add_up(moved).tolist()
        return Ranking(max(thresholds), flipped, regrown)

    def _shares(self, count: int) -> dict[tuple[str, ...], int]:
        """Names ranked together -> how many of them go; the counts add up to `count`."""
        if self._bound is not None:
            return self._bounded(count)
        sizes = [sum(self._weights[name].numel() for name in names) for names in self._rankings.values()]
        shares = apportion(count, sizes)
        return {tuple(names): n for names, n in zip(self._rankings.values(), shares, strict=True)}

    def _bounded(self, count: int) -> dict[tuple[str, ...], int]:
        """Weights that a global ranking would strip beyond the bound lose just that much, the others more."""
        assert self._bound is not None  # noqa: S101 - the caller has looked
        capped: dict[tuple[str, ...], int] = {}
        free = tuple(self._weights)
        while True:
            rest = count - sum(capped.values())
            if not free or not rest:
                return {**capped, free: rest}
            cut = self._cut(free, rest)
            below = self.shards.sums([self._count(name, torch.le, cut.value) for name in free])
            limits = [int(self._weights[name].numel() * self._bound) for name in free]
            over = {name: most for name, most, n in zip(free, limits, below, strict=True) if n > most}
            if not over:
                return {**capped, free: rest}
            capped |= {(name,): limit for name, limit in over.items()}
            free = tuple(name for name in free if name not in over)

    def _count(self, name: str, compare: Callable[[Tensor, float], Tensor], value: float) -> int:
        """Scores on this rank that are (torch.le, torch.eq) the value."""
        return sum(int(count_true(compare(score, value))) for score in self._scores(name))

    def _scores(self, name: str, stride: int = 1) -> Iterator[Tensor]:
        """The scores to rank by, per second of run time where costs are known."""
        cost = self._costs.get(name)
        for score in self._importance.scores(name, stride):
            yield score if cost is None else score.div_(cost)

    def _cut(self, names: tuple[str, ...], count: int) -> Cut:
        size = sum(self._weights[name].numel() for name in names)
        if self.device.type == "cpu" and size > _SAMPLED and not self.shards.active:
            sample = (p for name in names for p in self._scores(name, SAMPLE_STRIDE))
            cut = select_between(lambda: self._pieces(names), sample, count, size, self._scratch)
            if cut is not None:
                return cut
        return select_smallest(
            lambda: self._pieces(names),
            count,
            self._scratch,
            signed=self._importance.signed,
            reduce=self.shards.add_up,
        )

    def _rank(self, names: tuple[str, ...], count: int, moved: Tensor) -> float:
        if not count:
            for name in names:
                self._keep_all(name, moved)
            return -math.inf
        cut = self._cut(names, count)
        spare = self._ties_to_mask(cut, count)
        beyond = torch.gt if spare == cut.ties else torch.ge
        quotas = self._quotas(names, cut, 0 if spare == cut.ties else spare)
        for name, quota in zip(names, quotas, strict=True):
            pieces = zip(self._scores(name), chunks(flat(self.kept[name])), strict=True)
            for score, (kept,) in pieces:
                new = beyond(score, cut.value, out=self._scratch.get("kept", score, torch.bool))
                quota -= _drop_first(new, score, cut.value, quota)  # noqa: PLW2901 - what is left of it
                self._replace(kept, new, moved)
        return cut.value

    def _quotas(self, names: tuple[str, ...], cut: Cut, spare: int) -> list[int]:
        """How many ties of each weight go here when `spare` of all do; costs a pass only when some do."""
        if not spare:
            return [0] * len(names)
        return self.shards.tie_quotas([self._count(name, torch.eq, cut.value) for name in names], spare)

    def _keep_all(self, name: str, moved: Tensor) -> None:
        for (kept,) in chunks(flat(self.kept[name])):
            self._replace(kept, self._scratch.get("kept", kept, torch.bool).fill_(True), moved)

    def _replace(self, kept: Tensor, new: Tensor, moved: Tensor) -> None:
        """Takes over a new piece of mask; `moved` gathers the numbers flipped and regrown on the device."""
        changed = torch.ne(new, kept, out=self._scratch.get("changed", new, torch.bool))
        moved[0] += count_true(changed)
        moved[1] += count_true(changed.logical_and_(new))
        kept.copy_(new)

    def _ties_to_mask(self, cut: Cut, count: int) -> int:
        return count - cut.below

    def _pieces(self, names: tuple[str, ...]) -> Iterator[Tensor]:
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
        yield pack[:filled]  # a rank without rows still counts: none


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


class GroupMasks(Masks):
    """Whole heads or neurons: the score of one is the sum over its rows, columns and selected biases.

    Units leave a layer in quanta, so that the number kept is a multiple of `config.kept_multiple`; quanta are
    ranked globally by their mean score, and the last quantum of a layer always stays. Sharded weights need not
    be cut between units: the ranks add up their float64 sums, one reduction per layer.
    """

    def __init__(
        self,
        weights: Mapping[str, Tensor],
        importance: Importance,
        scratch: Scratch,
        couplings: tuple[Coupling, ...],
        config: PruneConfig,
    ) -> None:
        super().__init__(weights, importance, scratch)
        self._couplings = couplings
        self._multiple = config.kept_multiple
        self._check_reach(config)

    def rank(self, count: int) -> Ranking:
        """Masks the lowest quanta until at least `count` weights are masked."""
        scores = [self._unit_scores(coupling) for coupling in self._couplings]
        kept, threshold = self._choose(scores, count)
        moved = [self._write(coupling, units) for coupling, units in zip(self._couplings, kept, strict=True)]
        flipped, regrown = self.shards.sums([sum(column) for column in zip(*moved, strict=True)])
        return Ranking(threshold, flipped, regrown)

    def _choose(self, scores: list[Tensor], count: int) -> tuple[list[Tensor], float]:
        quanta: list[tuple[float, int, Tensor]] = []
        for index, score in enumerate(scores):
            order = torch.argsort(score, stable=True)
            for units in self._quanta(order)[:-1]:
                quanta.append((float(score[units].mean()), index, units))
        # Stable: equal quanta fall in model order, and those of one layer always from its lowest up.
        quanta.sort(key=lambda quantum: quantum[0])
        kept = [torch.ones(len(score), dtype=torch.bool) for score in scores]
        masked, threshold = 0, 0.0
        for mean, index, units in quanta:
            if masked >= count:
                break
            kept[index][units] = False
            masked += len(units) * self._unit_weights(self._couplings[index])
            threshold = max(threshold, mean)
        return kept, threshold

    def _quanta(self, order: Tensor) -> list[Tensor]:
        """Pieces of a multiple each; the first takes what is left over, so that the rest is a multiple."""
        odd = len(order) % self._multiple
        head = [order[:odd]] if odd else []
        return [*head, *order[odd:].split(self._multiple)]

    def _check_reach(self, config: PruneConfig) -> None:
        floor = sum(
            min(self._multiple, coupling.units) * self._unit_weights(coupling) for coupling in self._couplings
        )
        reach = 1 - floor / self.size
        if self.count(config.sparsity) > self.size - floor:
            raise InputError(
                f"sparsity {config.sparsity} is out of reach with granularity {config.granularity!r}: every "
                f"layer keeps at least {self._multiple}, so at most {reach:.3f}; lower the sparsity or "
                "group_multiple, or prune single weights"
            )

    def _unit_weights(self, coupling: Coupling) -> int:
        return sum(self._weights[name].numel() for name in self._names(coupling)) // coupling.units

    def _unit_scores(self, coupling: Coupling) -> Tensor:
        """float64 [units], on the host."""
        total = torch.zeros(coupling.units, dtype=torch.float64, device=self.device)
        for name in self._names(coupling):
            scores = self._whole_scores(name)
            width = scores.shape[1:].numel()
            rows_at_once = max(1, CHUNK // 8 // width)  # float64: small pieces keep the memory low
            owners = self._row_units(name, coupling).split(rows_at_once)
            for rows, owner in zip(scores.split(rows_at_once), owners, strict=True):
                if _is_consumer(name, coupling):
                    columns = rows.double().sum(0)
                    total += columns.view(coupling.units, coupling.unit_size).sum(1)
                else:
                    total.index_add_(0, owner, rows.double().view(-1, width).sum(1))
        return self.shards.add_up(total).cpu()

    def _write(self, coupling: Coupling, units: Tensor) -> tuple[int, int]:
        """Takes over which units stay; returns how many weights flipped and regrew on this rank."""
        units, flipped, regrown = units.to(self.device), 0, 0
        for name in self._names(coupling):
            mask = self.kept[name]
            if _is_consumer(name, coupling):
                new = units.repeat_interleave(coupling.unit_size).expand_as(mask)
            else:
                rows = units[self._row_units(name, coupling)]
                new = rows.view(-1, *[1] * (mask.ndim - 1)).expand_as(mask)
            changed = new ^ mask
            flipped += int(count_true(changed))
            regrown += int(count_true(changed.logical_and_(new)))
            mask.copy_(new)
        return flipped, regrown

    def _row_units(self, name: str, coupling: Coupling) -> Tensor:
        """int64: the unit to which each row that lies here belongs; a fused producer repeats them per stack."""
        rows = torch.arange(*self.shards.rows(self._weights[name]), device=self.device)
        return rows // coupling.unit_size % coupling.units

    def _names(self, coupling: Coupling) -> Iterator[str]:
        return (name for name in coupled_names(coupling) if name in self._weights)


def coupled_names(coupling: Coupling) -> list[str]:
    """Names of the parameters a coupling may reach: producer weights and biases, the consumer's weight."""
    producers = [f"{path}.{kind}" for path in coupling.producers for kind in ("weight", "bias")]
    return [*producers, f"{coupling.consumer}.weight"]


def _is_consumer(name: str, coupling: Coupling) -> bool:
    """Whether the units are columns of this parameter, not rows."""
    return name == f"{coupling.consumer}.weight"


def _drop_first(kept: Tensor, score: Tensor, value: float, spare: int) -> int:
    """Masks the first `spare` weights whose score ties with the cut; returns how many there were."""
    if spare <= 0:
        return 0
    ties = torch.nonzero(score == value).view(-1)[:spare]
    kept[ties] = False
    return len(ties)


_SAME_SIZE: dict[int, torch.dtype] = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def _zero_out(weight: Tensor, kept: Tensor) -> None:
    """In place. Multiplying the bits leaves +0 where a float product would leave -0 (or NaN), and is faster
    than masked_fill_."""
    weight.view(_SAME_SIZE[weight.element_size()]).mul_(kept)
