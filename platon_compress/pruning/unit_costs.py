"""What heads and neurons cost at run time: measured seconds of half an encoder block by the number of units it keeps.

A model takes `rest_seconds`, and beyond that of every attention and feed-forward what its curve has for its count. Curves
hold measured counts only, because only a measured count is known to be faster: 0 (the residual path alone, which is part of
the rest), some between, and all. See `platon_compress.measure.half_blocks`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platon_compress.errors import MISFITS, InputError

if TYPE_CHECKING:
    from torch import nn

    from platon_compress.structure import Coupling

__all__ = ["Curve", "UnitCosts", "curve_name", "curve_name_in"]

Curve = tuple[tuple[int, float], ...]
"""(units kept, seconds), counts rising from 0 to all."""

_CURE = "measure them again"


def curve_name(coupling: "Coupling", width: int) -> str:
    """Couplings of one name cost the same: `12 heads of 32 in 384`, `1536 neurons in 384`, `1152 gated neurons in 768`.

    `width` is that of the model's hidden states.
    """
    if coupling.kind == "heads":
        return f"{coupling.units} heads of {coupling.unit_size} in {width}"
    gated = "gated " if len(coupling.producers) * coupling.stacks > 1 else ""
    return f"{coupling.units} {gated}neurons in {width}"


def curve_name_in(model: "nn.Module", coupling: "Coupling") -> str:
    """The name of a coupling of `model`."""
    return curve_name(coupling, len(model.get_parameter(f"{coupling.consumer}.weight")))


@dataclass(frozen=True, kw_only=True)
class UnitCosts:
    """Seconds of one run of a model: `rest_seconds`, and a curve for each kind of half block, by :func:`curve_name`."""

    rest_seconds: float
    curves: Mapping[str, Curve]

    def __post_init__(self) -> None:
        """Raises InputError for curves that could not have been measured."""
        if not 0 <= _number(self.rest_seconds, "rest_seconds") < math.inf:
            raise InputError(f"rest_seconds of the unit costs is {self.rest_seconds!r}, below 0; {_CURE}")
        for name, curve in self.curves.items():
            counts = [count for count, _ in curve]
            if len(counts) < 2 or counts[0] != 0 or counts != sorted(set(counts)):
                raise InputError(f"the counts of {name!r} are {counts}, not rising from 0; {_CURE}")
            if any(not 0 <= _number(seconds, name) < math.inf for _, seconds in curve) or not curve[-1][1]:
                raise InputError(
                    f"the seconds of {name!r} are below 0, or all of it takes none: {list(curve)}; {_CURE}"
                )

    def curve(self, name: str, units: int) -> Curve:
        """The curve of half a block of `units` units. Raises InputError where it was not measured."""
        found = self.curves.get(name)
        if found is None or found[-1][0] != units:
            known = ", ".join(sorted(self.curves)) or "nothing"
            raise InputError(f"the unit costs say nothing of {name}, only of {known}; measure this model's")
        return found

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        curves = {name: [list(point) for point in curve] for name, curve in self.curves.items()}
        return {"rest_seconds": self.rest_seconds, "curves": curves}

    @classmethod
    def from_dict(cls, data: Any) -> "UnitCosts":
        """Raises InputError for another shape."""
        try:
            curves = {str(name): _points(curve) for name, curve in data["curves"].items()}
            return cls(rest_seconds=data["rest_seconds"], curves=curves)
        except MISFITS as error:
            raise InputError(f"the unit costs do not fit ({error!r:.80}); {_CURE}") from error


def _points(curve: Sequence[Sequence[Any]]) -> Curve:
    return tuple((int(count), seconds) for count, seconds in curve)


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"the unit costs hold {value!r} for {name}, not seconds; {_CURE}")
    return float(value)
