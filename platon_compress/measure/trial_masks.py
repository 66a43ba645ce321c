"""Masks for a model that nobody has trained yet: as sparse as asked for, of every granularity, at random places.

Rule: sparsity s of groups takes the share s of the units of every attention and of every feed-forward, rounded to
whole heads and to steps of 8 neurons, at least one of which stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from platon_compress.structure import Coupling

__all__ = ["BLOCKS", "ELEMENT", "GROUPS", "TrialLayer", "trial_layers", "trial_masks"]

ELEMENT, BLOCKS = "element", "4x1"
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


def trial_layers(model: "torch.nn.Module", granularity: str, sparsity: float) -> list[TrialLayer]:
    """Every prunable weight as it would be at `sparsity`."""
    from platon_compress.selection import select

    shares = {
        f"{path}.weight": len(kept) / coupling.units
        for coupling, kept in _kept_units(model, granularity, sparsity)
        for path in (*coupling.producers, coupling.consumer)
    }
    density = 1.0 if granularity in GROUPS else 1 - sparsity
    return [
        TrialLayer(name=name, shape=(p.shape[0], p.shape[1]), density=shares.get(name, density))
        for name, p in select(model).items()
    ]


def trial_masks(model: "torch.nn.Module", granularity: str, sparsity: float) -> "dict[str, torch.Tensor]":
    """Bool masks by name, True = kept; the same ones at every call."""
    import torch

    from platon_compress.selection import select

    generator = torch.Generator().manual_seed(0)
    if granularity in GROUPS:
        return _group_masks(model, granularity, sparsity)
    rows = _BLOCK_ROWS if granularity == BLOCKS else 1
    masks = {}
    for name, p in select(model).items():
        kept = torch.rand((-(-p.shape[0] // rows), p.shape[1]), generator=generator) >= sparsity
        masks[name] = kept.repeat_interleave(rows, dim=0)[: p.shape[0]]
    return masks


def _group_masks(model: Any, granularity: str, sparsity: float) -> "dict[str, torch.Tensor]":
    import torch

    from platon_compress.formats.structured import unit_features

    masks: dict[str, torch.Tensor] = {}
    for coupling, kept in _kept_units(model, granularity, sparsity):
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


def _kept_units(model: Any, granularity: str, sparsity: float) -> "Iterator[tuple[Coupling, range]]":
    from platon_compress.structure import find_couplings

    for coupling in find_couplings(model):
        if coupling.kind in GROUPS.get(granularity, ()):
            step = min(_STEPS[coupling.kind], coupling.units)
            kept = max(step, round((1 - sparsity) * coupling.units / step) * step)
            yield coupling, range(min(kept, coupling.units))
