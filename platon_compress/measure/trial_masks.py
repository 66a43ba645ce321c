"""Masks for a model that nobody has trained yet: as sparse as asked for, of every granularity, at random places.

Rules:

1. Sparsity s of groups takes the share s of the units of every attention and of every feed-forward, rounded to whole heads
   and to steps of 8 neurons, at least one of which stays.
2. Granularity "structured" takes the share s of the time, by measured half blocks, as evenly as they allow: the search of
   `platon_compress.pruning.unit_search` with the loss seconds * (share of the units that go)^2. A trained model's is uneven.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from platon_compress.pruning.unit_costs import UnitCosts
    from platon_compress.structure import Coupling

__all__ = [
    "BLOCKS",
    "ELEMENT",
    "GROUPS",
    "STRUCTURED",
    "TrialLayer",
    "structured_seconds",
    "trial_layers",
    "trial_masks",
]

ELEMENT, BLOCKS, STRUCTURED = "element", "4x1", "structured"
GROUPS = {"head": ("heads",), "neuron": ("neurons",), "heads+neurons": ("heads", "neurons")}
"""Granularities of whole units: the kinds of couplings that they shrink."""

_BLOCK_ROWS = 4
_STEPS = {"heads": 1, "neurons": 8}


@dataclass(frozen=True, kw_only=True)
class TrialLayer:
    """A prunable weight [out_features, in_features] and the share of it that is not zero, or is left of it."""

    name: str
    shape: tuple[int, int]
    density: float


def trial_layers(
    model: "torch.nn.Module", granularity: str, sparsity: float, costs: "UnitCosts | None" = None
) -> list[TrialLayer]:
    """Every prunable weight as it would be at `sparsity`; `costs` for granularity "structured"."""
    from platon_compress.selection import select

    shares = {
        f"{path}.weight": len(kept) / coupling.units
        for coupling, kept in _kept_units(model, granularity, sparsity, costs)
        for path in (*coupling.producers, coupling.consumer)
    }
    density = 1.0 if granularity in (*GROUPS, STRUCTURED) else 1 - sparsity
    return [
        TrialLayer(name=name, shape=(p.shape[0], p.shape[1]), density=shares.get(name, density))
        for name, p in select(model).items()
    ]


def trial_masks(
    model: "torch.nn.Module", granularity: str, sparsity: float, costs: "UnitCosts | None" = None
) -> "dict[str, torch.Tensor]":
    """Bool masks by name, True = kept; the same ones at every call. `costs` for granularity "structured"."""
    import torch

    from platon_compress.selection import select

    generator = torch.Generator().manual_seed(0)
    if granularity in (*GROUPS, STRUCTURED):
        return _group_masks(model, _kept_units(model, granularity, sparsity, costs))
    rows = _BLOCK_ROWS if granularity == BLOCKS else 1
    masks = {}
    for name, p in select(model).items():
        kept = torch.rand((-(-p.shape[0] // rows), p.shape[1]), generator=generator) >= sparsity
        masks[name] = kept.repeat_interleave(rows, dim=0)[: p.shape[0]]
    return masks


def structured_seconds(model: "torch.nn.Module", share: float, costs: "UnitCosts") -> float:
    """Of the whole model when `share` of its time has gone, or as near as it gets: rule 2."""
    return costs.rest_seconds + sum(
        dict(_curve(model, coupling, costs))[len(kept)]
        for coupling, kept in _structured_units(model, share, costs)
    )


def _group_masks(model: Any, units: "Iterable[tuple[Coupling, range]]") -> "dict[str, torch.Tensor]":
    import torch

    from platon_compress.formats.structured import unit_features

    masks: dict[str, torch.Tensor] = {}
    for coupling, kept in units:
        for path in (*coupling.producers, coupling.consumer):
            weight = model.get_submodule(path).weight
            producer = path != coupling.consumer
            features = unit_features(
                kept, coupling.unit_size, units=coupling.units, stacks=coupling.stacks if producer else 1
            )
            mask = masks.setdefault(f"{path}.weight", torch.ones(weight.shape, dtype=torch.bool))
            alive = torch.zeros(mask.shape[0 if producer else 1], dtype=torch.bool)
            alive[features] = True
            mask &= alive[:, None] if producer else alive[None, :]
    return masks


def _kept_units(
    model: Any, granularity: str, sparsity: float, costs: "UnitCosts | None"
) -> "Iterator[tuple[Coupling, range]]":
    from platon_compress.structure import find_couplings

    if granularity == STRUCTURED and costs is not None:
        yield from _structured_units(model, sparsity, costs)
    for coupling in find_couplings(model):
        if coupling.kind in GROUPS.get(granularity, ()):
            step = min(_STEPS[coupling.kind], coupling.units)
            kept = max(step, round((1 - sparsity) * coupling.units / step) * step)
            yield coupling, range(min(kept, coupling.units))


def _structured_units(model: Any, share: float, costs: "UnitCosts") -> "list[tuple[Coupling, range]]":
    from platon_compress.pruning.unit_costs import curve_name
    from platon_compress.pruning.unit_search import least_loss
    from platon_compress.structure import find_couplings

    couplings = [c for c in find_couplings(model) if curve_name(c, _width(model, c)) in costs.curves]
    options = [_curve(model, coupling, costs)[::-1] for coupling in couplings]
    losses = [
        np.array([option[0][1] * (1 - count / coupling.units) ** 2 for count, _ in option])
        for coupling, option in zip(couplings, options, strict=True)
    ]
    seconds = [np.array([time for _, time in option]) for option in options]
    dense = costs.rest_seconds + sum(float(times[0]) for times in seconds)
    least = sum(float(times.min()) for times in seconds)
    picks = least_loss(losses, seconds, max(dense * (1 - share) - costs.rest_seconds, least)).picks
    return [
        (coupling, range(option[pick][0]))
        for coupling, option, pick in zip(couplings, options, picks, strict=True)
    ]


def _curve(model: Any, coupling: "Coupling", costs: "UnitCosts") -> Any:
    from platon_compress.pruning.unit_costs import curve_name

    return costs.curve(curve_name(coupling, _width(model, coupling)), coupling.units)


def _width(model: Any, coupling: "Coupling") -> int:
    return len(model.get_parameter(f"{coupling.consumer}.weight"))
