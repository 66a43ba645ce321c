"""Masks of whole attention heads and FFN neurons."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.importance import Importance
from platon_compress.pruning.masks.arrays import CHUNK, Scratch, flat
from platon_compress.pruning.masks.elements import Masks, Ranking
from platon_compress.structure import Coupling

__all__ = ["GroupMasks", "coupled_names"]


class GroupMasks(Masks):
    """Whole heads or neurons: the score of one is the sum over its rows, columns and selected biases.

    Units leave a layer in quanta, so that the number kept is a multiple of `config.kept_multiple`; quanta are
    ranked globally by their mean score, and the last quantum of a layer always stays. Sharded weights need not
    be cut between units: the ranks add up their float64 sums in one reduction.
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
        self._couplings, self._config = couplings, config
        self._multiple = config.kept_multiple
        self._check_reach(config)

    def rank(self, count: int) -> Ranking:
        """Masks the lowest quanta until at least `count` weights are masked."""
        sizes = [coupling.units for coupling in self._couplings]
        sums = self.shards.add_up(torch.cat([self._unit_scores(coupling) for coupling in self._couplings]))
        scores = np.split(sums.cpu().numpy(), np.cumsum(sizes)[:-1])
        kept, threshold = self._choose(scores, count)
        units = torch.from_numpy(np.concatenate(kept)).to(self.device).split(sizes)
        moved = torch.zeros(2, dtype=torch.int64, device=self.device)
        for coupling, own in zip(self._couplings, units, strict=True):
            self._write(coupling, own, moved)
        return Ranking(threshold, *self.shards.add_up(moved).tolist())

    def _choose(self, scores: Sequence[np.ndarray], count: int) -> tuple[list[np.ndarray], float]:
        """Which units of each coupling stay, and the largest mean score of a quantum that goes."""
        quanta = [
            (mean, index, units)
            for index, score in enumerate(scores)
            for mean, units in list(self._quanta(score))[:-1]
        ]
        # Stable: equal quanta fall in model order, and those of one layer always from its lowest up.
        quanta.sort(key=lambda quantum: quantum[0])
        kept = [np.ones(len(score), dtype=np.bool_) for score in scores]
        masked, threshold = 0, 0.0
        for mean, index, units in quanta:
            if masked >= count:
                break
            kept[index][units] = False
            masked += len(units) * self._unit_weights(self._couplings[index])
            threshold = max(threshold, mean)
        return kept, threshold

    def _quanta(self, score: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        """Mean scores and units, lowest first, a multiple in each; the first takes what is left over."""
        order = np.argsort(score, kind="stable")
        odd = len(order) % self._multiple
        for units in (order[:odd], *order[odd:].reshape(-1, self._multiple)):
            if len(units):
                yield float(score[units].mean()), units

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
        """float64 [units], of the rows that lie here."""
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
        return total

    def _write(self, coupling: Coupling, units: Tensor, moved: Tensor) -> None:
        """Takes over which units stay; adds to `moved` how many weights flipped and regrew on this rank."""
        for name in self._names(coupling):
            mask = self.kept[name]
            if _is_consumer(name, coupling):
                new = units.repeat_interleave(coupling.unit_size).expand_as(mask)
            else:
                rows = units[self._row_units(name, coupling)]
                new = rows.view(-1, *[1] * (mask.ndim - 1)).expand_as(mask)
            self._replace(flat(mask), new.reshape(-1), moved)

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
