"""One decision per weight, with the numbers that it rests on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import torch

from platon_compress.baking import BakedModel
from platon_compress.errors import InputError
from platon_compress.formats.structured import unit_features
from platon_compress.planning.config import Form, PlanConfig
from platon_compress.planning.cost import CostEstimate, CostTable
from platon_compress.planning.coupling import UnitPlan, plan_units
from platon_compress.schemas import require_kind, stamped

__all__ = ["LayerPlan", "Plan", "plan"]


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """The form of one weight.

    name, shape        the weight parameter [out_features, in_features] as it is before anything shrinks
    group, kept        the coupling it belongs to, and that coupling's units that stay; None: it does not shrink
    density            non-zeros / size after shrinking
    expected_speedup   over the dense original, from the cost table; None where the table does not say
    reason             a sentence with the numbers
    """

    name: str
    group: str | None
    shape: tuple[int, int]
    density: float
    form: Form
    kept: tuple[int, ...] | None
    expected_speedup: float | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the field names are the keys."""
        return {
            "name": self.name,
            "group": self.group,
            "shape": list(self.shape),
            "density": self.density,
            "form": str(self.form),
            "kept": None if self.kept is None else list(self.kept),
            "expected_speedup": self.expected_speedup,
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LayerPlan":
        """Raises InputError when a field is missing or does not fit."""
        try:
            out_features, in_features = data["shape"]
            return cls(
                name=_typed(data, "name", str),
                group=_typed(data, "group", str, NoneType),
                shape=(int(out_features), int(in_features)),
                density=_typed(data, "density", int, float),
                form=Form(data["form"]),
                kept=None if data["kept"] is None else tuple(int(unit) for unit in data["kept"]),
                expected_speedup=_typed(data, "expected_speedup", int, float, NoneType),
                reason=_typed(data, "reason", str),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"a layer of the plan does not fit ({error!r}); plan the model again") from error


def _typed(data: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """A field of one of the types; a number must be finite, because a report cannot hold another."""
    value = data[name]
    if not isinstance(value, kinds) or (isinstance(value, int | float) and not math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All decisions. ``cost_table`` says whose measurements they rest on: {"source", "cpu", "isa"}."""

    layers: tuple[LayerPlan, ...]
    config: PlanConfig
    cost_table: Mapping[str, str] = field(default_factory=dict)

    def counts(self) -> dict[str, int]:
        """Layers per form, for example {"dense": 3, "structured": 0, "csr": 33}."""
        return {str(form): sum(layer.form is form for layer in self.layers) for form in Form}

    def to_dict(self) -> dict[str, Any]:
        """The content of plan.json."""
        content = {
            "config": self.config.to_dict(),
            "cost_table": dict(self.cost_table),
            "counts": self.counts(),
            "layers": [layer.to_dict() for layer in self.layers],
        }
        return stamped("plan", content)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Plan":
        """Raises InputError when the plan is of another schema or a field does not fit."""
        require_kind(data, "plan", "the plan", "plan the model again")
        if not isinstance(data.get("config"), Mapping) or not isinstance(data.get("layers"), list):
            raise InputError("the plan lacks its config or layers; plan the model again")
        cost_table = data.get("cost_table") or {}
        if not isinstance(cost_table, Mapping):
            raise InputError(f"the plan's cost_table is {cost_table!r}, not a mapping; plan the model again")
        return cls(
            layers=tuple(LayerPlan.from_dict(layer) for layer in data["layers"]),
            config=PlanConfig.from_dict(data["config"]),
            cost_table=dict(cost_table),
        )


@dataclass(frozen=True, kw_only=True)
class _Weight:
    """A weight with what shrinking leaves of it."""

    name: str
    shape: tuple[int, int]
    units: UnitPlan | None
    final_shape: tuple[int, int]
    density: float

    @property
    def kept(self) -> tuple[int, ...] | None:
        return None if self.units is None else self.units.kept


def plan(baked: BakedModel, config: PlanConfig) -> Plan:
    """Choose a form for every baked weight, and for every other weight of a group that shrinks.

    1. Units that are entirely zero go (STRUCTURED): exact, and the smaller dense layer runs anywhere.
    2. What is left becomes CSR where the cost table expects at least ``config.min_speedup`` over the dense
       layer of the final shape. Otherwise it is dense.
    """
    table = CostTable.load(config.cost_table)
    weights = _weights(baked, shrink=config.force in (None, Form.STRUCTURED))
    return Plan(
        layers=tuple(_decide(weight, config, table) for weight in weights),
        config=config,
        cost_table={"source": table.source, "cpu": table.cpu, "isa": table.isa},
    )


def _weights(baked: BakedModel, *, shrink: bool) -> list[_Weight]:
    """Model order; one entry per baked weight and per member of a shrinking group."""
    unit_plans = plan_units(baked.model) if shrink else ()
    rows = {f"{path}.weight": u for u in unit_plans for path in u.coupling.producers}
    columns = {f"{u.coupling.consumer}.weight": u for u in unit_plans}
    baked_names = {weight.name for weight in baked.weights}
    found = []
    for name, parameter in baked.model.named_parameters():
        units = rows.get(name) or columns.get(name)
        if name in baked_names or (units is not None and units.kept is not None):
            found.append(_weight(name, parameter.detach(), units, is_consumer=name in columns))
    return found


def _weight(name: str, weight: torch.Tensor, units: UnitPlan | None, *, is_consumer: bool) -> _Weight:
    final = weight
    if units is not None and units.kept is not None:
        coupling = units.coupling
        stacks = 1 if is_consumer else coupling.stacks
        features = unit_features(units.kept, coupling.unit_size, units=coupling.units, stacks=stacks).to(
            weight.device
        )
        final = weight.index_select(1 if is_consumer else 0, features)
    return _Weight(
        name=name,
        shape=(weight.shape[0], weight.shape[1]),
        units=units,
        final_shape=(final.shape[0], final.shape[1]),
        density=int(torch.count_nonzero(final)) / final.numel(),
    )


def _decide(weight: _Weight, config: PlanConfig, table: CostTable) -> LayerPlan:
    final = table.estimate(*weight.final_shape, weight.density, config.rows, config.used_threads)
    form, why = _choose(weight, config, table, final)
    note = "" if weight.units is None else weight.units.reason
    return LayerPlan(
        name=weight.name,
        group=None if weight.units is None else weight.units.coupling.name,
        shape=weight.shape,
        density=weight.density,
        form=form,
        kept=weight.kept,
        expected_speedup=_expected_speedup(weight, config, table, form),
        reason="; ".join(part for part in (note, why) if part),
    )


def _choose(
    weight: _Weight, config: PlanConfig, table: CostTable, final: CostEstimate | None
) -> tuple[Form, str]:
    size = f"{weight.density:.1%} of {weight.final_shape[0]}x{weight.final_shape[1]} is not zero"
    if config.force is Form.CSR:
        return Form.CSR, f"CSR because it was forced; {size}"
    refusal = _csr_refusal(weight, config, table, final)
    if refusal is not None:
        return Form.DENSE if weight.kept is None else Form.STRUCTURED, f"no CSR: {refusal}; {size}"
    return Form.CSR, f"CSR is expected to be {_times(final)} as fast as dense; {size}"


def _csr_refusal(
    weight: _Weight, config: PlanConfig, table: CostTable, final: CostEstimate | None
) -> str | None:
    """Why this weight does not become CSR; None when it does."""
    if config.force is not None:
        return f"{config.force} was forced"
    if config.device == "cuda":
        return "the sparse kernels run on the CPU, the plan is for cuda"
    if reason := table.unfit():
        return reason
    if final is None:
        return _unknown(weight, config, table)
    if final.speedup < config.min_speedup:
        return f"it is expected to be {_times(final)} as fast as dense, below {config.min_speedup:g}x"
    return None


def _times(estimate: CostEstimate | None) -> str:
    if estimate is None:
        return "unknown times"
    out_features, in_features, rows, threads = estimate.cell
    return f"{estimate.speedup:.2f}x (table: {out_features}x{in_features}, {rows} rows, {threads} threads)"


def _unknown(weight: _Weight, config: PlanConfig, table: CostTable) -> str:
    out_features, in_features = weight.final_shape
    if table.estimate(out_features, in_features, 0.0, config.rows, config.used_threads) is not None:
        return "it is denser than anything in the cost table"
    where = f"{out_features}x{in_features} at {config.rows} rows and {config.used_threads} threads"
    command = f"calibrate --shapes {out_features}x{in_features} --tokens {config.rows}"
    return f"the cost table has nothing near {where}; `platon-compress {command}` measures it for plan.cost_table"


def _expected_speedup(weight: _Weight, config: PlanConfig, table: CostTable, form: Form) -> float | None:
    """Seconds of the dense original / seconds of the chosen form, both as the table expects them."""
    if form is Form.DENSE:
        return 1.0
    before = table.estimate(*weight.shape, 0.0, config.rows, config.used_threads)
    density = weight.density if form is Form.CSR else 0.0
    after = table.estimate(*weight.final_shape, density, config.rows, config.used_threads)
    if before is None or after is None or (config.device != "cpu"):
        return None
    return before.dense_seconds / (after.csr_seconds if form is Form.CSR else after.dense_seconds)
