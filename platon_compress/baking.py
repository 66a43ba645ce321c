"""Bake: masks become zeros for good, and every trace of the pruning tool leaves the model.

Rules:

1. With masks, a masked value becomes exactly 0.0 whatever it was; without masks the zeros that a checkpoint
   already holds are its mask (any tool's checkpoint enters here). Negative zeros, which a tool that multiplies by
   its mask leaves, become 0.0 too.
2. Hooks and parametrizations of ``torch.nn.utils.prune`` and ``torch.nn.utils.parametrize`` are folded into
   plain parameters first, so that state-dict keys are the model's own again; so is what training wraps around a
   module, and its values become float32 (:mod:`platon_compress.incoming`).
3. A parameter that several modules share is counted once.
4. Values may be rounded to what float16 holds; the file then stores them in two bytes, without further loss.
5. Sparsity is counted on the weights afterwards, never taken from a schedule. Below the target: an error.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune

from platon_compress.errors import MISFITS, CheckFailedError, InputError
from platon_compress.incoming import check_finite, plain_module
from platon_compress.selection import select
from platon_compress.structure import clean_name

__all__ = ["VALUE_TYPES", "BakedModel", "BakedWeight", "bake", "plain_state_dict", "read_baked"]

# A dense checkpoint holds a few exact zeros by accident; a pruned one has a weight with far more than this.
_LEAST_WEIGHT_SPARSITY = 0.05

# Relative to a weight's largest value: below what float32 keeps of a sum. Drawn weights hold one in ten million.
_NOTHING, _MANY = 1e-8, 1e-3

VALUE_TYPES = ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class BakedWeight:
    """A linear layer's weight [out_features, in_features] and its count of non-zeros."""

    name: str
    shape: tuple[int, int]
    nnz: int

    @property
    def density(self) -> float:
        """Non-zeros divided by size, 0..1."""
        return self.nnz / (self.shape[0] * self.shape[1])


@dataclass(frozen=True, kw_only=True)
class BakedModel:
    """A model in eval mode whose zeros are permanent.

    ``sparsity`` is zeros / size over all baked parameters; ``skipped`` names what was masked but stays dense
    downstream, and why.
    """

    model: nn.Module = field(repr=False)
    weights: tuple[BakedWeight, ...]
    sparsity: float
    target_sparsity: float | None = None
    skipped: tuple[tuple[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary, without the model."""
        return {
            "sparsity": self.sparsity,
            "target_sparsity": self.target_sparsity,
            "weights": [
                {"name": w.name, "shape": list(w.shape), "nnz": w.nnz, "density": w.density}
                for w in self.weights
            ],
            "skipped": [list(entry) for entry in self.skipped],
        }


@torch.no_grad()
def bake(
    model: nn.Module,
    masks: Mapping[str, Tensor] | None = None,
    *,
    target_sparsity: float | None = None,
    values: str = "float32",
) -> BakedModel:
    """Write the zeros of ``masks`` (True = kept) into ``model``, in place, and count them.

    ``masks`` maps parameter names to boolean tensors of the parameters' shapes; ``None`` takes the zeros that
    the default weights (:func:`platon_compress.selection.select`) already hold. ``values`` "float16" rounds every
    baked weight to the nearest float16 (relative error at most 2^-11; below 6e-5 absolute error at most 3e-8).

    Raises:
        InputError: a mask that fits no parameter, values anywhere in the model that are not finite, values too
            large for float16, or, without masks, a checkpoint that holds no zeros.
        CheckFailedError: fewer zeros than ``floor(size * target_sparsity)``, less one per weight for rounding.
    """
    if target_sparsity is not None and not 0 <= target_sparsity < 1:
        raise InputError(
            f"target_sparsity must be in [0, 1), got {target_sparsity}; 0.9 keeps one weight in ten"
        )
    if values not in VALUE_TYPES:
        raise InputError(
            f"values must be one of {', '.join(VALUE_TYPES)}, got {values!r}; float32 keeps every value as it is"
        )
    model = plain_module(model)
    _fold_tool_wrappers(model)
    parameters = dict(select(model)) if masks is None else _masked_parameters(model, masks)
    if masks is not None:
        for name, mask in masks.items():
            _apply_mask(parameters[_plain_name(name)], mask, name)
    for parameter in parameters.values():
        parameter.masked_fill_(parameter == 0, 0.0)
    check_finite(model)
    unique = _unique(parameters)
    if values == "float16":
        _round_to_half(unique)
    if masks is None:
        _check_holds_zeros(unique)
    sparsity = _checked_sparsity(unique, target_sparsity)
    weights, skipped = _describe(model, unique)
    skipped += _near_zeros(unique)
    return BakedModel(
        model=model.eval(),
        weights=weights,
        sparsity=sparsity,
        target_sparsity=target_sparsity,
        skipped=skipped,
    )


def read_baked(model: nn.Module, record: Mapping[str, Any]) -> BakedModel:
    """The result of :func:`bake` from the model as it was saved and ``BakedModel.to_dict()``.

    Raises:
        InputError: the record is damaged, or the model's non-zeros are not those that were counted.
    """
    try:
        target = record["target_sparsity"]
        weights = tuple(
            BakedWeight(
                name=str(entry["name"]),
                shape=(int(entry["shape"][0]), int(entry["shape"][1])),
                nnz=int(entry["nnz"]),
            )
            for entry in record["weights"]
        )
        baked = BakedModel(
            model=model.eval(),
            weights=weights,
            sparsity=float(record["sparsity"]),
            target_sparsity=None if target is None else float(target),
            skipped=tuple((str(name), str(reason)) for name, reason in record["skipped"]),
        )
    except MISFITS as error:
        raise InputError(
            f"the counts of the baked model are damaged ({error!r:.80}); bake it again"
        ) from error
    parameters = dict(model.named_parameters())
    for weight in weights:
        found = parameters.get(weight.name)
        if found is None:
            raise InputError(
                f"the baked model has no {weight.name}, which was counted, perhaps because another version of transformers "
                "named it; bake it again"
            )
        if tuple(found.shape) != weight.shape or int(torch.count_nonzero(found)) != weight.nnz:
            raise InputError(
                f"{weight.name} of the baked model is not the one that was counted ({list(weight.shape)}, "
                f"{weight.nnz} non-zeros); bake it again"
            )
    return baked


def plain_state_dict(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn the state dict of a training or pruning tool into a plain one.

    ``X_orig`` and ``X_mask`` (``torch.nn.utils.prune``), and ``parametrizations.weight.original`` with its
    ``0.mask`` (``torch.ao.pruning``), become ``X``; the prefixes of DistributedDataParallel, FSDP, torch.compile and
    activation checkpointing go. Other keys pass unchanged.

    Raises:
        InputError: a mask that does not fit its weight, holds anything but 0 and 1, or keeps nothing in the whole
            model; scores of movement pruning, adapters, and names that become one.
    """
    plain = {clean_name(key): tensor for key, tensor in state.items()}
    if len(plain) < len(state):
        raise InputError("the checkpoint holds a model twice, wrapped and unwrapped; save one of them")
    _refuse_unapplied(plain)
    kept = []
    for name, original_key, mask_key in list(_pruned_keys(plain)):
        original, mask = plain.pop(original_key), plain.pop(mask_key)
        if original.shape != mask.shape:
            raise InputError(
                f"the checkpoint's {mask_key} has shape {list(mask.shape)}, but {original_key} has "
                f"{list(original.shape)}; save the checkpoint again from the tool that pruned it"
            )
        _check_binary(mask, mask_key)
        kept.append(bool(mask.any()))
        plain[name] = original.masked_fill(mask == 0, 0.0)
    if kept and not any(kept):
        raise InputError(
            "the masks of the checkpoint keep no weight at all; save it again from the tool that pruned it"
        )
    return plain


def _refuse_unapplied(state: Mapping[str, Tensor]) -> None:
    """What changes the weights only while its own tool runs the model would be lost in silence."""
    for key in state:
        if key.endswith("mask_scores"):
            raise InputError(
                f"the checkpoint holds scores of movement pruning that were never applied (first: {key}); "
                "let the tool that trained it write the zeros, and give that checkpoint"
            )
        if ".lora_" in key or ".base_layer." in key:
            raise InputError(
                f"the checkpoint holds adapters beside its weights (first: {key}); merge them with "
                "merge_and_unload() and save the model"
            )


def _pruned_keys(state: Mapping[str, Tensor]) -> Iterator[tuple[str, str, str]]:
    for key in state:
        if key.endswith("_orig") and f"{key.removesuffix('_orig')}_mask" in state:
            name = key.removesuffix("_orig")
            yield name, key, f"{name}_mask"
        elif key.endswith(".original") and f"{key.removesuffix('.original')}.0.mask" in state:
            stem = key.removesuffix(".original")
            yield stem.replace("parametrizations.", "", 1), key, f"{stem}.0.mask"


def _fold_tool_wrappers(model: nn.Module) -> None:
    for module in list(model.modules()):
        hooks = [h for h in module._forward_pre_hooks.values() if isinstance(h, prune.BasePruningMethod)]
        for hook in hooks:
            prune.remove(module, hook._tensor_name)
        if parametrize.is_parametrized(module):
            for name in [name for name, _ in module.get_submodule("parametrizations").named_children()]:
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def _plain_name(name: str) -> str:
    """The parameter's name once wrappers and tool suffixes are gone."""
    name = clean_name(name)
    if ".parametrizations." in name:
        name = name.replace(".parametrizations.", ".", 1).removesuffix(".original")
    return name.removesuffix("_orig")


def _masked_parameters(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, nn.Parameter]:
    if not masks:
        raise InputError("masks is empty, so there is nothing to bake; pass pruner.masks() after pruning")
    known = dict(model.named_parameters(remove_duplicate=False))
    found: dict[str, nn.Parameter] = {}
    for name, mask in masks.items():
        plain = _plain_name(name)
        if plain not in known:
            raise InputError(
                f"the mask {name!r} fits no parameter of {type(model).__name__}; pass the masks of this very model"
            )
        if mask.shape != known[plain].shape:
            raise InputError(
                f"the mask {name!r} has shape {list(mask.shape)}, its parameter {list(known[plain].shape)}; "
                "pass the masks of this very model"
            )
        found[plain] = known[plain]
    return found


def _apply_mask(parameter: nn.Parameter, mask: Tensor, name: str) -> None:
    _check_binary(mask, name)
    parameter.masked_fill_(mask.to(parameter.device) == 0, 0.0)


def _check_binary(mask: Tensor, name: str) -> None:
    if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
        raise InputError(f"the mask {name!r} holds values beside 0 and 1; give booleans, True = kept")


def _unique(parameters: Mapping[str, nn.Parameter]) -> dict[str, nn.Parameter]:
    """Shared parameters once, under their first name."""
    seen: set[int] = set()
    return {n: p for n, p in parameters.items() if id(p) not in seen and not seen.add(id(p))}  # type: ignore[func-returns-value]


def _round_to_half(parameters: Mapping[str, nn.Parameter]) -> None:
    largest = torch.finfo(torch.float16).max
    for name, parameter in parameters.items():
        if parameter.abs().max() > largest:
            raise InputError(
                f"{name} holds values above {largest:g}, which float16 lacks; keep float32 values"
            )
        parameter.copy_(parameter.half())


def _zeros(parameter: Tensor) -> int:
    return parameter.numel() - int(torch.count_nonzero(parameter))


def _check_holds_zeros(parameters: Mapping[str, nn.Parameter]) -> None:
    if any(_zeros(p) >= _LEAST_WEIGHT_SPARSITY * p.numel() for p in parameters.values()):
        return
    zeros, size = sum(map(_zeros, parameters.values())), sum(p.numel() for p in parameters.values())
    if near := _near_zeros(parameters):
        raise InputError(
            f"the checkpoint holds {zeros} zeros among {size} weights of linear layers, so it is not pruned; "
            f"but {near[0][0]} {near[0][1]}"
        )
    raise InputError(
        f"the checkpoint holds {zeros} zeros among {size} weights of linear layers, so it is not pruned; "
        "give a pruned checkpoint, or prune this one first with `platon-compress run RECIPE.yaml`"
    )


def _near_zeros(parameters: Mapping[str, nn.Parameter]) -> tuple[tuple[str, str], ...]:
    """(name, what to do) of weights with many values that were meant to be zero: too small to count beside the largest."""
    found = []
    for name, parameter in parameters.items():
        sizes = parameter.abs()
        bound = float(sizes.max()) * _NOTHING
        count = int(((sizes > 0) & (sizes < bound)).sum())
        if count > _MANY * parameter.numel():
            cure = f"if they are pruned, set them to zero first (weight[weight.abs() < {bound:.0e}] = 0)"
            found.append((name, f"holds {count} values that are almost zero, and stay; {cure}"))
    return tuple(found)


def _checked_sparsity(parameters: Mapping[str, nn.Parameter], target: float | None) -> float:
    """Counted sparsity; refuses one below the target, where the target counts as floor(size * target) zeros.

    One weight per parameter is let pass: the authors' rule and bounds by weight round down.
    """
    zeros, size = sum(map(_zeros, parameters.values())), sum(p.numel() for p in parameters.values())
    if target is not None and zeros < math.floor(size * target) - len(parameters):
        raise CheckFailedError(
            f"sparsity is {zeros / size:.4f} ({zeros} zeros of {size}), below the target {target}; "
            "train to the end of the schedule (its final phase reaches the target), or lower the target"
        )
    return zeros / size


def _describe(
    model: nn.Module, parameters: Mapping[str, nn.Parameter]
) -> tuple[tuple[BakedWeight, ...], tuple[tuple[str, str], ...]]:
    linear = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    weights, skipped = [], []
    for name, parameter in parameters.items():
        if name in linear:
            out_features, in_features = parameter.shape
            nnz = int(torch.count_nonzero(parameter))
            weights.append(BakedWeight(name=name, shape=(out_features, in_features), nnz=nnz))
        else:
            skipped.append((name, "not the weight of a linear layer: its zeros stay, its form is dense"))
    return tuple(weights), tuple(skipped)
