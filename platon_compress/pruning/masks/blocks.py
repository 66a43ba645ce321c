"""Masks for sparsity with a pattern: 4x1 blocks, and 2 of every 4."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.importance import Importance
from platon_compress.pruning.masks.arrays import CHUNK, Scratch, count_true, drop_first, flat
from platon_compress.pruning.masks.elements import Masks, Ranking
from platon_compress.pruning.masks.threshold import Cut, select_smallest

__all__ = ["BlockMasks", "TwoOfFourMasks"]


class BlockMasks(Masks):
    """Four weights of one input in four consecutive outputs stay or go as one; their scores are added.

    At least the wanted number of weights is masked, fewer than 4 more.
    """

    pattern = "4x1"
    axis = 0  # the dimension that 4 must divide
    unit = 4  # weights that go with one ranked score

    def __init__(self, weights: Mapping[str, Tensor], importance: Importance, scratch: Scratch) -> None:
        super().__init__(weights, importance, scratch)
        for name, weight in weights.items():
            if weight.ndim != 2 or weight.shape[self.axis] % 4:
                raise InputError(
                    f"granularity {self.pattern!r} does not divide {name} of shape {tuple(weight.shape)} in "
                    f"dimension {self.axis}; leave it out with `ignore` or prune single weights"
                )
            if self.axis == 0 and any(row % 4 for row in self.shards.boundaries(weight)):
                raise InputError(
                    f"granularity {self.pattern!r} needs shards of whole blocks: {self.shards.ranks} ranks cut {name} "
                    f"of {weight.shape[0]} rows at row {self.shards.boundaries(weight)[0]}, no multiple of 4; "
                    "use another number of ranks, leave it out with `ignore` or prune single weights"
                )

    def rank(self, count: int) -> Ranking:
        """Masks the units with the smallest scores; ties fall by position."""
        wanted = -(-count // self.unit)
        signed, reduce = self._importance.signed, self.shards.add_up
        cut = select_smallest(
            self._all_units, wanted, self._scratch, device=self.device, signed=signed, reduce=reduce
        )
        quotas = self._quotas_of(cut, wanted - cut.below)
        moved = torch.zeros(2, dtype=torch.int64, device=self.device)
        for name, quota in zip(self._weights, quotas, strict=True):
            scores = self._whole_scores(name)
            units = self._units(scores)
            stay = units > cut.value if quota is None else units >= cut.value
            if quota:
                drop_first(stay, units == cut.value, moved.new_full((), quota))
            self._replace(flat(self.kept[name]), self._expand(scores, stay).view(-1), moved)
        return Ranking(cut.value, *self.shards.add_up(moved).tolist())

    def _quotas_of(self, cut: Cut, spare: int) -> list[int | None]:
        """How many ties of each weight go here, None for all; costs a pass only when not all of them do."""
        if spare == cut.ties:
            return [None] * len(self._weights)
        ties = [count_true(units == cut.value) for units in self._all_units()]
        return self.shards.tie_quotas([(ties, spare)])[0]

    def _all_units(self) -> Iterator[Tensor]:
        for name in self._weights:
            yield self._units(self._whole_scores(name))

    def _units(self, scores: Tensor) -> Tensor:
        """Flat float32 scores of the units."""
        return scores.view(-1, 4, scores.shape[1]).sum(1).view(-1)

    def _expand(self, scores: Tensor, stay: Tensor) -> Tensor:
        """The mask of single weights, True = kept, for the units that stay."""
        columns = scores.shape[1]
        return stay.view(-1, 1, columns).expand(-1, 4, columns).reshape(scores.shape)


class TwoOfFourMasks(BlockMasks):
    """Of every four consecutive inputs of an output the two with the smallest scores go.

    While the sparsity rises, the fours whose two smallest scores add up to the least go first.
    """

    pattern = "2:4"
    axis = 1
    unit = 2

    def _units(self, scores: Tensor) -> Tensor:
        a, b, c, d = scores.view(-1, 4).unbind(1)
        low, other = torch.minimum(a, b), torch.minimum(c, d)
        second = torch.minimum(
            torch.maximum(low, other), torch.minimum(torch.maximum(a, b), torch.maximum(c, d))
        )
        return torch.minimum(low, other).add_(second)

    def _expand(self, scores: Tensor, stay: Tensor) -> Tensor:
        new = torch.ones(stay.numel(), 4, dtype=torch.bool, device=scores.device)
        at_once = CHUNK // 32  # argsort gives int64: small pieces keep the memory low
        for fours, part, kept in zip(
            scores.view(-1, 4).split(at_once), new.split(at_once), stay.split(at_once), strict=True
        ):
            lowest = torch.argsort(fours, dim=1, stable=True)[:, :2]
            part.scatter_(1, lowest, kept[:, None].expand(-1, 2))
        return new.view(scores.shape)
