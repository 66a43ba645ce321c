"""Which masks a config asks for, and what of the model they reach."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from platon_compress.errors import InputError
from platon_compress.pruning.bounds import bounds_of
from platon_compress.pruning.config import UNIT_KINDS, PruneConfig
from platon_compress.pruning.costs import relative_costs
from platon_compress.pruning.importance import Importance
from platon_compress.pruning.masks.arrays import Scratch
from platon_compress.pruning.masks.blocks import BlockMasks, TwoOfFourMasks
from platon_compress.pruning.masks.elements import ElementMasks, Masks, ReferenceMasks
from platon_compress.pruning.masks.groups import GroupMasks
from platon_compress.pruning.masks.structured import StructuredMasks
from platon_compress.pruning.unit_costs import curve_name
from platon_compress.structure import Coupling, find_blocks, find_couplings, unwrap_model

__all__ = ["build_masks", "couplings_to_prune"]

_PATTERNS = {"4x1": BlockMasks, "2:4": TwoOfFourMasks}


def couplings_to_prune(
    model: nn.Module, config: PruneConfig, trained: Mapping[str, Any]
) -> tuple[Coupling, ...]:
    """Couplings of the wanted kinds whose every weight is selected, and whose costs are known where they are ranked by."""
    kinds = UNIT_KINDS[config.granularity]
    found = tuple(c for c in find_couplings(model) if c.kind in kinds)
    complete = tuple(
        c
        for c in found
        if all(f"{path}.weight" in trained for path in (*c.producers, c.consumer))
        and (
            config.unit_costs is None
            or curve_name(c, len(trained[f"{c.consumer}.weight"])) in config.unit_costs.curves
        )
    )
    if not complete:
        raise InputError(
            f"granularity {config.granularity!r} finds no complete group of {' or '.join(kinds)} in "
            f"{type(unwrap_model(model)).__name__} ({len(found)} found, each with a weight that is not "
            "selected or trained, or whose cost is not known); select whole groups or prune single weights"
        )
    return complete


def build_masks(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    importance: Importance,
    scratch: Scratch,
    config: PruneConfig,
) -> Masks:
    """The masks of `weights`, which are those that `config` selects."""
    if config.granularity in _PATTERNS:
        return _PATTERNS[config.granularity](weights, importance, scratch)
    if config.granularity != "element":
        kind = StructuredMasks if config.granularity == "structured" else GroupMasks
        return kind(weights, importance, scratch, couplings_to_prune(model, config, weights), config)
    if config.reference_compat:
        return ReferenceMasks(weights, importance, scratch)
    return ElementMasks(
        weights,
        importance,
        scratch,
        _partition(model, weights, config.scope),
        bounds_of(
            model,
            weights,
            bounds=config.bounds,
            greatest=config.max_layer_sparsity,
            sparsity=config.sparsity,
        ),
        relative_costs(weights, config.weight_costs),
    )


def _partition(model: nn.Module, weights: Mapping[str, Tensor], scope: str) -> dict[str, str] | None:
    """Which ranking a weight takes part in: its own, or that of its role, its name without the block's."""
    if scope == "global":
        return None
    if scope == "layer":
        return {name: name for name in weights}
    blocks = find_blocks(model)
    own = {name: next((b for b in blocks if name.startswith(f"{b}.")), "") for name in weights}
    return {name: name.removeprefix(f"{block}.") for name, block in own.items()}
