"""Convert: a baked model and its plan become a model whose layers have the planned forms.

The result computes what the baked model computes: what has no effect is cleared, its constants join biases
(`platon_compress.planning.idle`), and only units that contribute exactly nothing are removed.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from platon_compress.baking import BakedModel
from platon_compress.errors import InputError
from platon_compress.formats.attention import set_heads
from platon_compress.formats.csr import CsrWeight
from platon_compress.formats.structured import unit_features, without_columns, without_rows
from platon_compress.planning import Form, LayerPlan, Plan
from platon_compress.planning.coupling import attention_of, removable_units
from platon_compress.planning.idle import clear_idle
from platon_compress.structure import Coupling, find_couplings

__all__ = ["CompressedModel", "RemovedUnits", "convert", "shrink"]

_CURE = "plan this very model again"


@dataclass(frozen=True, kw_only=True)
class RemovedUnits:
    """The heads or neurons that ``coupling`` lost: all but ``kept``, increasing unit numbers."""

    coupling: Coupling
    kept: tuple[int, ...]

    @property
    def group(self) -> str:
        """The coupling's label in the plan."""
        return self.coupling.name

    @property
    def kind(self) -> str:
        """ "heads" or "neurons"."""
        return self.coupling.kind

    @property
    def before(self) -> int:
        """Units that there were."""
        return self.coupling.units

    @property
    def after(self) -> int:
        """Units that are left."""
        return len(self.kept)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary."""
        return {"group": self.group, "kind": self.kind, "before": self.before, "after": self.after}


@dataclass(frozen=True, kw_only=True)
class CompressedModel:
    """A converted copy in eval mode.

    ``csr`` maps weight parameter names to their arrays; the module's own weight holds the same values, so that the
    model runs and trains like any other. After training, :meth:`refreshed` reads the arrays anew. ``int8`` names those
    that the export stores as 8-bit numbers; here they are not rounded.
    """

    model: nn.Module = field(repr=False)
    csr: Mapping[str, CsrWeight] = field(repr=False)
    removed: tuple[RemovedUnits, ...] = ()
    int8: frozenset[str] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """JSON-able summary: what was removed, how many weights are CSR, and how large the arrays are."""
        return {
            "removed": [entry.to_dict() for entry in self.removed],
            "csr_weights": len(self.csr),
            "int8_weights": len(self.int8),
            "csr_nnz": sum(weight.nnz for weight in self.csr.values()),
            "csr_bytes": sum(weight.nbytes for weight in self.csr.values()),
            "parameters": sum(p.numel() for p in self.model.parameters()),
        }

    def refreshed(self) -> "CompressedModel":
        """The same model with arrays that hold its weights as they are now; those that still do are kept."""
        return replace(self, csr={name: _current(self.model, name, csr) for name, csr in self.csr.items()})


@torch.no_grad()
def convert(baked: BakedModel, plan: Plan) -> CompressedModel:
    """Build the planned forms in a copy; ``baked.model`` is left as it is.

    Raises:
        InputError: the plan names weights, shapes or units that do not fit the model, or would remove units
            that still contribute to the output.
    """
    layers = {layer.name: layer for layer in plan.layers}
    _check_fits(baked.model, plan)
    model = copy.deepcopy(baked.model).eval()
    if plan.idle is not None:
        clear_idle(model)
    removed = tuple(shrink(model, coupling, kept) for coupling, kept in _shrinking(model, layers).items())
    csr = {name: _to_csr(model, name) for name, layer in layers.items() if layer.form is Form.CSR}
    int8 = frozenset(name for name in csr if layers[name].values == "int8")
    return CompressedModel(model=model, csr=csr, removed=removed, int8=int8)


def _check_fits(model: nn.Module, plan: Plan) -> None:
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for layer in plan.layers:
        if layer.name not in shapes:
            raise InputError(f"the plan names {layer.name!r}, which {type(model).__name__} lacks; {_CURE}")
        if shapes[layer.name] != layer.shape:
            raise InputError(
                f"the plan has {layer.name!r} as {list(layer.shape)}, the model as {list(shapes[layer.name])}; {_CURE}"
            )


def _shrinking(model: nn.Module, layers: Mapping[str, LayerPlan]) -> dict[Coupling, tuple[int, ...]]:
    """The couplings that lose units, each with the units that stay; every member must agree."""
    wanted = {layer.group: layer.kept for layer in layers.values() if layer.kept is not None}
    couplings = {coupling.name: coupling for coupling in find_couplings(model)}
    found: dict[Coupling, tuple[int, ...]] = {}
    for group, kept in wanted.items():
        if group not in couplings:
            raise InputError(f"the plan shrinks {group!r}, which {type(model).__name__} lacks; {_CURE}")
        coupling = couplings[group]
        _check_members(coupling, kept, layers)
        silent = removable_units(model, coupling)
        if not set(torch.nonzero(~silent).flatten().tolist()) <= set(kept):
            raise InputError(f"the plan removes units of {group!r} that are not all zero; {_CURE}")
        found[coupling] = kept
    return found


def _check_members(coupling: Coupling, kept: tuple[int, ...], layers: Mapping[str, LayerPlan]) -> None:
    for path in (*coupling.producers, coupling.consumer):
        layer = layers.get(f"{path}.weight")
        if layer is None or layer.kept != kept:
            raise InputError(f"the plan shrinks {coupling.name!r} but not {path}.weight alike; {_CURE}")


def shrink(model: nn.Module, coupling: Coupling, kept: tuple[int, ...]) -> RemovedUnits:
    """Take every unit but ``kept`` out of ``model``, in place, whatever the units hold."""
    features = unit_features(kept, coupling.unit_size)
    rows = unit_features(kept, coupling.unit_size, units=coupling.units, stacks=coupling.stacks)
    if coupling.kind == "heads":
        attention = attention_of(model, coupling)
        set_heads(attention, before=coupling.units, after=len(kept), head_size=coupling.unit_size)
    for path in coupling.producers:
        model.set_submodule(path, without_rows(_linear(model, path), rows))
    consumer = without_columns(_linear(model, coupling.consumer), features)
    model.set_submodule(coupling.consumer, consumer)
    return RemovedUnits(coupling=coupling, kept=kept)


def _linear(model: nn.Module, path: str) -> nn.Linear:
    module = model.get_submodule(path)
    if not isinstance(module, nn.Linear):
        raise InputError(f"{path} is a {type(module).__name__}, not a linear layer; {_CURE}")
    return module


def _to_csr(model: nn.Module, name: str) -> CsrWeight:
    return CsrWeight.from_dense(_matrix(model, name))


def _current(model: nn.Module, name: str, csr: CsrWeight) -> CsrWeight:
    """`csr` itself where the model's weight still holds just its values."""
    matrix = _matrix(model, name)
    rows = np.repeat(np.arange(csr.out_features), np.diff(csr.row_starts))
    same = matrix.shape == (csr.out_features, csr.in_features) and np.count_nonzero(matrix) == csr.nnz
    if same and np.array_equal(matrix[rows, csr.columns], csr.values):
        return csr
    return CsrWeight.from_dense(matrix)


def _matrix(model: nn.Module, name: str) -> np.ndarray:
    """float32 [out, in] of a weight."""
    return model.get_parameter(name).detach().float().cpu().numpy()
