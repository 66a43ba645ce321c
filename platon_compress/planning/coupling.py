"""Which heads and neurons can go without changing what the model computes.

A unit contributes `consumer columns @ unit output`. It goes exactly when that product is zero whatever the input:

1. the consumer's columns of the unit are all zero; or
2. heads: the value projection's rows and biases of the unit are all zero (zero values in any attention
   pattern give zero); or
3. neurons: the rows and biases of one producer are all zero and act(0) = 0 (gated or not).

At least one unit stays. A coupling whose weights are shared with another module is left alone.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from platon_compress.formats.attention import head_refusal
from platon_compress.structure import Coupling, find_couplings

__all__ = [
    "NEURON_MULTIPLE",
    "UnitPlan",
    "activation_of",
    "attention_of",
    "is_zero_at_zero",
    "mixing_refusal",
    "plan_units",
    "removable_units",
    "shared_parameters",
]

# Measured (benchmarks/results/rounding.json): per neuron, dense ONNX Runtime takes up to 3 % longer for odd counts,
# and gains nothing measurable from 16 or 32 over 8.
NEURON_MULTIPLE = 8
_VALUE_PRODUCER = 2  # producers of heads, or stacks of a fused one, are (query, key, value, ...)
_ACTIVATIONS = ("intermediate_act_fn", "activation", "activation_fn", "act", "act_fn", "hidden_act")


@dataclass(frozen=True, kw_only=True)
class UnitPlan:
    """``kept`` unit numbers of a coupling that shrinks, or None when it stays.

    ``reason`` says why in either case, and is empty where no unit is all zero.
    """

    coupling: Coupling
    kept: tuple[int, ...] | None
    reason: str


def plan_units(model: nn.Module) -> tuple[UnitPlan, ...]:
    """One entry per coupling that :func:`platon_compress.structure.find_couplings` reports."""
    shared = shared_parameters(model)
    return tuple(_plan_one(model, coupling, shared) for coupling in find_couplings(model))


def removable_units(model: nn.Module, coupling: Coupling) -> torch.Tensor:
    """bool [units]: the unit contributes exactly nothing, whatever the input."""
    by_unit = (coupling.units, coupling.unit_size)
    consumer = model.get_parameter(f"{coupling.consumer}.weight")
    columns_zero = torch.eq(consumer, 0).all(dim=0).view(by_unit).all(dim=1)
    silent = [
        stack
        for path in coupling.producers
        for stack in _rows_zero(model, path).view(coupling.stacks, *by_unit).all(dim=2)
    ]
    if coupling.kind == "heads":
        return columns_zero | silent[_VALUE_PRODUCER]
    act = activation_of(model, coupling)
    if act is None or not is_zero_at_zero(act):
        return columns_zero
    return columns_zero | torch.stack(silent).any(dim=0)


def attention_of(model: nn.Module, coupling: Coupling) -> nn.Module:
    """The module that holds the query, key and value projections of a heads coupling."""
    return model.get_submodule(coupling.producers[0].rpartition(".")[0])


def _plan_one(model: nn.Module, coupling: Coupling, shared: set[int]) -> UnitPlan:
    removable = removable_units(model, coupling)
    count = int(removable.sum())
    kept = _kept(removable, NEURON_MULTIPLE if coupling.kind == "neurons" else 1)
    what = f"{count} of {coupling.units} {coupling.kind} of {coupling.block}"
    if count == 0:
        return UnitPlan(coupling=coupling, kept=None, reason="")
    refusal = _refusal(model, coupling, shared)
    if refusal is not None:
        return UnitPlan(coupling=coupling, kept=None, reason=f"{what} are all zero but stay: {refusal}")
    if len(kept) == coupling.units:
        reason = f"{what} are all zero but stay: fewer than a step of {NEURON_MULTIPLE}"
        return UnitPlan(coupling=coupling, kept=None, reason=reason)
    gone = coupling.units - len(kept)
    return UnitPlan(
        coupling=coupling,
        kept=kept,
        reason=f"{gone} of {coupling.units} {coupling.kind} of {coupling.block} are all zero and are removed exactly",
    )


def _kept(removable: torch.Tensor, multiple: int) -> tuple[int, ...]:
    """Units that stay, with the first removable ones added until their count is a positive multiple."""
    live = torch.nonzero(~removable).flatten().tolist()
    wanted = min(max(-(-len(live) // multiple) * multiple, multiple), removable.numel())
    spare = torch.nonzero(removable).flatten().tolist()
    return tuple(sorted(live + spare[: wanted - len(live)]))


def _refusal(model: nn.Module, coupling: Coupling, shared: set[int]) -> str | None:
    if (mixed := mixing_refusal(model, coupling, shared)) is not None:
        return mixed
    return head_refusal(attention_of(model, coupling), coupling.units) if coupling.kind == "heads" else None


def mixing_refusal(model: nn.Module, coupling: Coupling, shared: set[int]) -> str | None:
    """Why units do not stand for themselves: what else uses their weights, or moves one by another; None: they do.

    ``shared`` is that of :func:`shared_parameters`.
    """
    for path in (*coupling.producers, coupling.consumer):
        if any(id(p) in shared for p in model.get_submodule(path).parameters()):
            return f"the weight of {path} is shared with another module"
    return None if coupling.kind == "heads" else _norm_refusal(model, coupling)


def _norm_refusal(model: nn.Module, coupling: Coupling) -> str | None:
    """A norm over the neurons mixes them: then a silent neuron still moves the others."""
    members = {id(model.get_submodule(path)) for path in (*coupling.producers, coupling.consumer)}
    if coupling.units == model.get_submodule(coupling.consumer).out_features:
        return None  # the block's own norms have this size too
    for name, module in model.get_submodule(coupling.block).named_modules():
        own = [] if id(module) in members else list(module.parameters(recurse=False))
        if any(p.shape == (coupling.units,) for p in own):
            return f"{coupling.block}.{name} has one parameter a neuron"
    return None


def _rows_zero(model: nn.Module, path: str) -> torch.Tensor:
    """bool [out_features]: the output is zero whatever the input."""
    zero = torch.eq(model.get_parameter(f"{path}.weight"), 0).all(dim=1)
    bias = model.get_submodule(path).bias
    return zero & torch.eq(bias, 0) if isinstance(bias, torch.Tensor) else zero


def activation_of(model: nn.Module, coupling: Coupling) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The one activation around the producer of neurons. Not found, or one of several: not proven, so None."""
    parent = model.get_submodule(coupling.producers[0].rpartition(".")[0])
    block = model.get_submodule(coupling.block)
    found = _activations_in([parent]) or _activations_in(list(block.modules()))
    return found[0] if len({_identity(function) for function in found}) == 1 else None


def _activations_in(modules: list[nn.Module]) -> list[Callable[[torch.Tensor], torch.Tensor]]:
    return [getattr(m, name) for m in modules for name in _ACTIVATIONS if callable(getattr(m, name, None))]


def _identity(function: object) -> object:
    """Modules of one class with the same settings are one function."""
    return repr(function) if isinstance(function, nn.Module) else function


def is_zero_at_zero(act: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether an activation maps 0 to 0; False where it takes something else than a tensor."""
    try:
        with torch.no_grad():
            return bool((act(torch.zeros(1)) == 0).all())
    except (TypeError, RuntimeError, ValueError):
        return False


def shared_parameters(model: nn.Module) -> set[int]:
    """Ids of parameters that two different modules hold (one module under two paths is not sharing)."""
    holders = Counter(id(p) for module in set(model.modules()) for p in module.parameters(recurse=False))
    return {key for key, count in holders.items() if count > 1}
