"""The plan as data: one decision per weight, with the numbers that it rests on."""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import NoneType
from typing import Any

from platon_compress.errors import MISFITS, InputError
from platon_compress.planning.config import Form, PlanConfig
from platon_compress.planning.idle import Idle
from platon_compress.schemas import require_kind, stamped

__all__ = ["FLOAT32", "INT8", "LayerPlan", "Plan"]

FLOAT32, INT8 = "float32", "int8"
"""What the values of a layer are."""


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """The form of one weight.

    name, shape        the weight parameter [out_features, in_features] as it is before anything shrinks
    group, kept        the coupling it belongs to, and that coupling's units that stay; None: it does not shrink
    density            non-zeros / size after shrinking
    expected_speedup   over the dense original, from the cost table; None where the table does not say
    values             "float32", or "int8" for a CSR weight that the export rounds to 8-bit numbers
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
    values: str = FLOAT32

    @property
    def spoken_form(self) -> str:
        """`dense`, `csr`, `csr int8`."""
        return str(self.form) if self.values == FLOAT32 else f"{self.form} {self.values}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; the field names are the keys."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "LayerPlan":
        """Raises InputError when a field is missing or does not fit."""
        try:
            out_features, in_features = data["shape"]
            form, values = Form(data["form"]), data.get("values", FLOAT32)
            if values not in (FLOAT32, INT8) or (values == INT8 and form is not Form.CSR):
                raise ValueError(f"values is {values!r} of a {form} layer")
            return cls(
                name=_typed(data, "name", str),
                group=_typed(data, "group", str, NoneType),
                shape=(int(out_features), int(in_features)),
                density=_typed(data, "density", int, float),
                form=form,
                kept=None if data["kept"] is None else tuple(int(unit) for unit in data["kept"]),
                expected_speedup=_typed(data, "expected_speedup", int, float, NoneType),
                reason=_typed(data, "reason", str),
                values=values,
            )
        except MISFITS as error:
            raise InputError(f"a layer of the plan does not fit ({error!r}); plan the model again") from error


def _typed(data: Mapping[str, Any], name: str, *kinds: type) -> Any:
    """A field of one of the types; a number must be finite, because a report cannot hold another."""
    value = data[name]
    if not isinstance(value, kinds) or (isinstance(value, int | float) and not math.isfinite(value)):
        raise ValueError(f"{name} is {value!r}")
    return value


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All decisions. ``cost_table`` says whose measurements they rest on: {"source", "cpu", "isa"}.

    ``idle``: what has no effect and is cleared before anything is converted; None: nothing is.
    """

    layers: tuple[LayerPlan, ...]
    config: PlanConfig
    cost_table: Mapping[str, str] = field(default_factory=dict)
    idle: Idle | None = None

    def counts(self) -> dict[str, int]:
        """Layers per form, for example {"dense": 3, "structured": 0, "csr": 33}."""
        return {str(form): sum(layer.form is form for layer in self.layers) for form in Form}

    @property
    def int8_layers(self) -> int:
        """Layers whose values the export rounds to 8-bit numbers."""
        return sum(layer.values == INT8 for layer in self.layers)

    def spoken_counts(self) -> dict[str, int]:
        """Those that there are, value types apart, for example {"dense": 3, "csr int8": 33}."""
        return dict(Counter(layer.spoken_form for layer in self.layers))

    def to_dict(self) -> dict[str, Any]:
        """The content of plan.json."""
        content = {
            "config": self.config.to_dict(),
            "cost_table": dict(self.cost_table),
            "counts": self.counts(),
            "int8_layers": self.int8_layers,
            "idle": None if self.idle is None else self.idle.to_dict(),
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
            idle=None if data.get("idle") is None else Idle.from_dict(data["idle"]),
        )
