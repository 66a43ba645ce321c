"""The pruner's state as plain data, and the check that a state fits a pruner."""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.masks.shards import Shards

__all__ = ["TENSOR_FIELDS", "Pruned", "check_state", "pack_record", "pack_state"]

_log = logging.getLogger(__name__)
TENSOR_FIELDS = ("sensitivity_ema", "uncertainty_ema", "window", "masks")


class Pruned(Protocol):
    """What of a pruner belongs to its state."""

    config: PruneConfig

    @property
    def shards(self) -> Shards:
        """Which rows lie here."""

    def parameter(self, name: str) -> Tensor:
        """A prunable weight."""

    def own_tensors(self) -> dict[str, dict[str, Tensor]]:
        """Its tensors, not copies, by field and parameter name; of sharded weights the local rows."""

    def counters(self) -> dict[str, Any]:
        """Numbers beside tensors and step; JSON-able."""

    @property
    def steps(self) -> int:
        """Optimiser steps so far."""


def pack_state(pruner: Pruned) -> dict[str, Any]:
    """Copies of every tensor by parameter name, the counters, the config and the transformers major."""
    return {
        **{
            field: {
                name: pruner.shards.wrap(pruner.parameter(name), t.clone()) for name, t in tensors.items()
            }
            for field, tensors in pruner.own_tensors().items()
        },
        **pack_record(pruner),
    }


def pack_record(pruner: Pruned) -> dict[str, Any]:
    """What the state holds beside tensors; JSON-able."""
    return {
        "step": pruner.steps,
        "counters": pruner.counters(),
        "config": pruner.config.to_dict(),
        "transformers_major": transformers_major(),
    }


def check_state(pruner: Pruned, state: Mapping[str, Any]) -> None:
    """Raises InputError, naming the first difference, when `state` is not of this model and config.

    Another transformers major is only warned of: where it renamed modules, the names differ already.
    """
    _check_kinds(state)
    counters = pruner.counters()
    if missing := [key for key in counters if key not in state["counters"]]:
        raise InputError(
            f"the counters of the pruner state lack {missing[0]!r}; it is damaged or of another version, so take "
            "another checkpoint"
        )
    _check_config(pruner.config.to_dict(), state["config"])
    for field in TENSOR_FIELDS:
        _check_names(pruner, state, field)
    if (saved := state.get("transformers_major")) != (here := transformers_major()):
        _log.warning(
            "the pruner state was saved with transformers %s, here is %s; names and shapes agree, so it is taken",
            saved,
            here,
        )


def transformers_major() -> int | None:
    """Major version of the installed transformers; module names of ViT and DINOv2 depend on it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return int(version("transformers").partition(".")[0])
    except PackageNotFoundError:
        return None


def _check_kinds(state: Mapping[str, Any]) -> None:
    cure = "give the result of Pruner.state_dict(), undamaged"
    if not isinstance(state, Mapping):
        raise InputError(f"the pruner state is a {type(state).__name__}, not a dict; {cure}")
    for key in ("step", "counters", "config", *TENSOR_FIELDS):
        if key not in state:
            raise InputError(f"the pruner state lacks {key!r}; {cure}")
        value, kind = state[key], int if key == "step" else Mapping
        if not isinstance(value, kind):
            raise InputError(f"{key!r} of the pruner state is {value!r:.40}, not a {kind.__name__}; {cure}")


def _check_config(own: Mapping[str, Any], saved: Mapping[str, Any]) -> None:
    if (steps := saved.get("total_steps")) != own["total_steps"]:  # the warm-ups follow from it
        raise InputError(
            f"the pruner state was saved with total_steps={steps!r}, this run has {own['total_steps']!r}; resume with "
            "the saved number of steps (a Trainer's depends on epochs, batch size and number of processes; max_steps "
            "fixes it) or start without the state"
        )
    for name in sorted({*own, *saved}):
        if own.get(name) != saved.get(name):
            raise InputError(
                f"the pruner state was saved with {name}={saved.get(name)!r}, this run has "
                f"{own.get(name)!r}; resume with the saved config or start without the state"
            )


def _check_names(pruner: Pruned, state: Mapping[str, Any], field: str) -> None:
    saved = {name: tuple(tensor.shape) for name, tensor in state[field].items()}
    own = {name: tuple(pruner.parameter(name).shape) for name in pruner.own_tensors()[field]}
    if saved == own:
        return
    name = next(n for n in sorted({*own, *saved}) if own.get(n) != saved.get(n))
    majors = (state.get("transformers_major"), transformers_major())
    hint = f" (saved with transformers {majors[0]}, here {majors[1]})" if majors[0] != majors[1] else ""
    raise InputError(
        f"the pruner state is of another model: {field} {name!r} has shape {saved.get(name)}, here "
        f"{own.get(name)}{hint}; resume with the model it was saved with"
    )
