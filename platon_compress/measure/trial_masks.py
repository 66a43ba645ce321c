"""Masks for a model that nobody has trained yet: as sparse as asked for, of every granularity, at random places.

Rules:

1. Sparsity s of heads or neurons takes the share s of the units of every attention or feed-forward, rounded to whole heads
   and to steps of 8 neurons, at least one of which stays.
2. Granularity "structured" takes the share s of the time, by measured half blocks, as evenly as they allow: the search of
   `platon_compress.pruning.unit_search` with the loss seconds * (share of the units that go)^2. A trained model's is uneven.
"""

from typing import TYPE_CHECKING

import numpy as np

from platon_compress.pruning.config import UNIT_KINDS
from platon_compress.pruning.unit_costs import Curve, UnitCosts, curve_name_in
from platon_compress.pruning.unit_search import least_loss

if TYPE_CHECKING:
    import torch

    from platon_compress.planning.expected import Layer
    from platon_compress.structure import Coupling

__all__ = ["BLOCKS", "ELEMENT", "STRUCTURED", "TrialMasks"]

ELEMENT, BLOCKS, STRUCTURED = "element", "4x1", "structured"

_BLOCK_ROWS = 4
_STEPS = {"heads": 1, "neurons": 8}


class TrialMasks:
    """Zeros of one `granularity` in the prunable weights of `model`, at any sparsity; `costs`: of "structured" alone."""

    def __init__(self, model: "torch.nn.Module", granularity: str, costs: UnitCosts | None = None) -> None:
        from platon_compress.selection import select
        from platon_compress.structure import find_couplings

        self._model, self._weights = model, select(model)
        self._granularity, self._costs = granularity, costs
        kinds = UNIT_KINDS.get(granularity, ())
        self._couplings = [coupling for coupling in find_couplings(model) if coupling.kind in kinds]
        self._curves: list[Curve] = []
        self._found: dict[float, list[int]] = {}
        if costs is not None:
            named = [(c, curve_name_in(model, c)) for c in self._couplings]
            self._couplings = [coupling for coupling, name in named if name in costs.curves]
            self._curves = [costs.curve(name, c.units) for c, name in named if name in costs.curves]

    def layers(self, sparsity: float) -> "dict[str, Layer]":
        """Every prunable weight with the share of it that is not zero, or is left of it."""
        shares = {
            f"{path}.weight": kept / coupling.units
            for coupling, kept in zip(self._couplings, self._kept(sparsity), strict=True)
            for path in (*coupling.producers, coupling.consumer)
        }
        density = 1.0 if self._granularity in UNIT_KINDS else 1 - sparsity
        return {
            name: ((p.shape[0], p.shape[1]), shares.get(name, density)) for name, p in self._weights.items()
        }

    def masks(self, sparsity: float) -> "dict[str, torch.Tensor]":
        """Bool masks by name, True = kept; the same ones at every call."""
        import torch

        if self._granularity in UNIT_KINDS:
            return self._unit_masks(self._kept(sparsity))
        generator = torch.Generator().manual_seed(0)
        rows = _BLOCK_ROWS if self._granularity == BLOCKS else 1
        masks = {}
        for name, p in self._weights.items():
            kept = torch.rand((-(-p.shape[0] // rows), p.shape[1]), generator=generator) >= sparsity
            masks[name] = kept.repeat_interleave(rows, dim=0)[: p.shape[0]]
        return masks

    def seconds(self, share: float) -> float:
        """Of the whole model when `share` of its time has gone, or as near as it gets, by `costs`: rule 2."""
        kept = zip(self._curves, self._kept(share), strict=True)
        return self._rest_seconds + sum(dict(curve)[count] for curve, count in kept)

    @property
    def _rest_seconds(self) -> float:
        return 0.0 if self._costs is None else self._costs.rest_seconds

    def _kept(self, sparsity: float) -> list[int]:
        """Units that stay, coupling by coupling; searched once for each sparsity."""
        if sparsity not in self._found:
            even = [_kept_share(coupling, 1 - sparsity) for coupling in self._couplings]
            self._found[sparsity] = even if self._costs is None else self._kept_by_time(sparsity)
        return self._found[sparsity]

    def _kept_by_time(self, share: float) -> list[int]:
        options = [
            curve[::-1] for curve in self._curves
        ]  # of equal losses the search takes the earlier option
        seconds = [np.array([time for _, time in option]) for option in options]
        losses = [
            times[0] * np.array([1 - count / coupling.units for count, _ in option]) ** 2
            for coupling, option, times in zip(self._couplings, options, seconds, strict=True)
        ]
        dense = self._rest_seconds + sum(float(times[0]) for times in seconds)
        least = sum(float(times.min()) for times in seconds)
        picks = least_loss(losses, seconds, max(dense * (1 - share) - self._rest_seconds, least)).picks
        return [option[pick][0] for option, pick in zip(options, picks, strict=True)]

    def _unit_masks(self, kept: list[int]) -> "dict[str, torch.Tensor]":
        import torch

        from platon_compress.formats.structured import unit_features

        masks: dict[str, torch.Tensor] = {}
        for coupling, count in zip(self._couplings, kept, strict=True):
            for path in (*coupling.producers, coupling.consumer):
                name, producer = f"{path}.weight", path != coupling.consumer
                features = unit_features(
                    range(count),
                    coupling.unit_size,
                    units=coupling.units,
                    stacks=coupling.stacks if producer else 1,
                )
                shape = self._model.get_parameter(name).shape
                mask = masks.setdefault(name, torch.ones(shape, dtype=torch.bool))
                alive = torch.zeros(mask.shape[0 if producer else 1], dtype=torch.bool)
                alive[features] = True
                mask &= alive[:, None] if producer else alive[None, :]
        return masks


def _kept_share(coupling: "Coupling", share: float) -> int:
    """Rule 1."""
    step = min(_STEPS[coupling.kind], coupling.units)
    return min(max(step, round(share * coupling.units / step) * step), coupling.units)
