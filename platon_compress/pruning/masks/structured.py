"""Heads, neurons and whole half blocks together, by the score that a measured millisecond costs."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import ClassVar

import numpy as np
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.masks.groups import GroupMasks
from platon_compress.pruning.unit_costs import Curve, UnitCosts, curve_name
from platon_compress.pruning.unit_search import least_loss
from platon_compress.structure import Coupling

__all__ = ["StructuredMasks"]

_PARTS = 1_000_000  # of the dense time; a count of masked weights means as many of them here


class StructuredMasks(GroupMasks):
    """Every half block keeps a measured number of its units, those with the largest scores; which number, a search says.

    The loss of keeping c of a half block is the sum of the scores of all units but the c largest. `unit_search` takes the
    least loss of the whole model in the time that the schedule leaves; a half block that keeps none is dropped whole.
    """

    counts_weights: ClassVar[bool] = False

    @cached_property
    def _curves(self) -> list[Curve]:
        """One of each coupling; none while nothing is measured."""
        costs = self._config.unit_costs
        return [] if costs is None else [_curve(costs, c, self._weights) for c in self._couplings]

    @property
    def _rest(self) -> float:
        return 0.0 if self._config.unit_costs is None else self._config.unit_costs.rest_seconds

    @property
    def dense_seconds(self) -> float:
        """Of the whole model."""
        return self._rest + sum(curve[-1][1] for curve in self._curves)

    @property
    def expected_speedup(self) -> float:
        """Dense seconds / seconds of what the masks keep, both as measured."""
        spent = sum(
            dict(curve)[self._kept_units(coupling)]
            for curve, coupling in zip(self._curves, self._couplings, strict=True)
        )
        return self.dense_seconds / (self._rest + spent)

    def count(self, sparsity: float) -> int:
        """Millionths of the dense time that go."""
        return int(_PARTS * sparsity)

    def _kept_units(self, coupling: Coupling) -> int:
        columns = self.kept[f"{coupling.consumer}.weight"]
        return int(columns.any(0).view(coupling.units, coupling.unit_size).any(1).sum())

    def _choose(self, scores: Sequence[np.ndarray], count: int) -> tuple[list[np.ndarray], float]:
        """Which units of each half block stay, and the largest score of one that goes."""
        orders = [np.argsort(score, kind="stable") for score in scores]
        options = [curve[::-1] for curve in self._curves]  # equal losses keep more
        losses = [
            _losses(score[order], [kept for kept, _ in option])
            for score, order, option in zip(scores, orders, options, strict=True)
        ]
        seconds = [np.array([time for _, time in option]) for option in options]
        budget = self.dense_seconds * (1 - count / _PARTS) - self._rest
        picks = least_loss(losses, seconds, budget).picks
        kept, threshold = [], 0.0
        for score, order, option, pick in zip(scores, orders, options, picks, strict=True):
            units = np.ones(len(score), dtype=np.bool_)
            gone = order[: len(score) - option[pick][0]]
            units[gone] = False
            kept.append(units)
            threshold = max(threshold, float(score[gone].max()) if len(gone) else 0.0)
        return kept, threshold

    def _check_reach(self, config: PruneConfig) -> None:
        if not self._curves:
            return
        least = self._rest + sum(min(time for _, time in curve) for curve in self._curves)
        left = self.dense_seconds * (1 - self.count(config.sparsity) / _PARTS)
        if least > left:
            raise InputError(
                f"a speed-up of {1 / (1 - config.sparsity):.2f} is out of reach with granularity 'structured': without "
                f"any head and neuron the model is {self.dense_seconds / least:.2f} times as fast; lower it"
            )


def _curve(costs: UnitCosts, coupling: Coupling, weights: Mapping[str, Tensor]) -> Curve:
    width = weights[f"{coupling.consumer}.weight"].shape[0]
    return costs.curve(curve_name(coupling, width), coupling.units)


def _losses(rising: np.ndarray, kept: Sequence[int]) -> np.ndarray:
    """Sum of all but the `kept` largest of rising scores, for each count."""
    sums = np.concatenate([[0.0], np.cumsum(rising)])
    return np.array([sums[len(rising) - count] for count in kept])
