"""Masks that are given, from another run say, and held from the first step: nothing is scored, ranked or regrown.

A held run is a `Pruner` with `schedule="held"`: the masks are applied at its start and after every optimiser step, gradients
are not looked at, and it keeps one bool per weight and no averages. Its sparsity is that of the masks.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, first_line
from platon_compress.pruning.config import PruneConfig

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["check_masks", "held_config", "mask_sparsity", "masks_for", "read_masks"]


def held_config(masks: "Mapping[str, Tensor]", total_steps: int | None = None) -> PruneConfig:
    """The config that holds bool masks by parameter name, True = kept. Raises InputError where they hold no zero."""
    sparsity = mask_sparsity(masks)
    if not 0 < sparsity < 1:
        what = "every" if not sparsity else "no"
        raise InputError(
            f"the masks keep {what} weight, so there is nothing to hold; give masks of a pruned model"
        )
    return PruneConfig(sparsity=sparsity, total_steps=total_steps, schedule="held", targets=tuple(masks))


def mask_sparsity(masks: "Mapping[str, Tensor]") -> float:
    """Share of False over all masks."""
    size = sum(mask.numel() for mask in masks.values())
    return 1 - sum(int(mask.count_nonzero()) for mask in masks.values()) / size if size else 0.0


def check_masks(model: "nn.Module", masks: "Mapping[str, Tensor]") -> None:
    """Raises InputError, naming the first, for a mask that is no bool tensor of one of the model's parameters."""
    from platon_compress.structure import clean_name, unwrap_model

    known = {clean_name(name): tuple(p.shape) for name, p in unwrap_model(model).named_parameters()}
    for name, mask in masks.items():
        cure = "give masks of this very model"
        if name not in known:
            raise InputError(
                f"the mask {name!r} fits no parameter of {type(unwrap_model(model)).__name__}; {cure}"
            )
        if tuple(mask.shape) != known[name]:
            raise InputError(
                f"the mask {name!r} has shape {tuple(mask.shape)}, its parameter {known[name]}; {cure}"
            )
        if str(mask.dtype) != "torch.bool":
            raise InputError(f"the mask {name!r} holds {mask.dtype}, not booleans, True = kept; {cure}")


def masks_for(model: "nn.Module", masks: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Masks that are named as in files, by the names of `model`'s parameters; other names stay as they are."""
    from platon_compress.file_names import names_in_model

    own = names_in_model(model, masks)
    return {own.get(name, name): mask for name, mask in masks.items()}


def read_masks(path: Path, cure: str) -> dict[str, Any]:
    """Bool masks by name from a safetensors file. Raises InputError, which ends with `cure`, for anything else."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        masks = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; {cure}") from error
    if any(str(mask.dtype) != "torch.bool" for mask in masks.values()) or not any(
        bool(mask.any()) for mask in masks.values()
    ):
        raise InputError(f"{path} holds no masks that keep a weight; {cure}")
    return dict(masks)
