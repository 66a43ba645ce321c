"""What a user asks of a model - so fast, so small, no worse than - and whether figures meet it."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from platon_compress.errors import InputError, shown

__all__ = ["TOLERANCE", "Budget", "Figures", "parse_bytes", "parse_seconds", "spoken_bytes", "spoken_seconds"]

TOLERANCE = 0.1
"""A measured time counts as met up to this share beyond the budget: timings of another minute differ by several percent."""

_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_BYTES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_QUANTITY = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?) ?([A-Za-z]+)")


def parse_seconds(text: str, name: str) -> float:
    """Seconds of a text such as 10ms or 0.01s. Raises InputError, naming it as `name`, for anything else."""
    return _parse(text, name, _SECONDS, "10ms")


def parse_bytes(text: str, name: str) -> int:
    """Bytes of a text such as 50MB (10^6) or 48MiB (2^20). Raises InputError, naming it as `name`, for anything else."""
    return round(_parse(text, name, _BYTES, "50MB"))


def spoken_seconds(seconds: float) -> str:
    """`9.41 ms`."""
    return f"{seconds * 1e3:.3g} ms"


def spoken_bytes(size: float) -> str:
    """`48.2 MB`."""
    return f"{size / 1e6:.3g} MB"


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


def _parse(text: str, name: str, units: dict[str, float], example: str) -> float:
    found = _QUANTITY.fullmatch(text.strip())
    if found is None or found[2] not in units or not float(found[1]):
        raise InputError(
            f"{name} is {shown(text)}; give a number above 0 with one of the units {', '.join(units)}, for example {example}"
        )
    return float(found[1]) * units[found[2]]


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Of one model file: median seconds of a run, times the speed of dense, bytes on disk; measured or expected."""

    latency_seconds: float
    speedup: float
    size_bytes: int

    def spoken(self) -> str:
        """`9.41 ms, 3.10x dense, 48.2 MB`."""
        return f"{spoken_seconds(self.latency_seconds)}, {self.speedup:.2f}x dense, {spoken_bytes(self.size_bytes)}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> "Figures":
        """The inverse. Raises InputError for anything but positive, finite numbers under those names."""
        names = {entry.name for entry in fields(cls)}
        if not isinstance(data, Mapping) or data.keys() != names or not all(map(_positive, data.values())):
            raise InputError(f"these are no figures of a model ({shown(data)}); measure it again")
        return cls(**data)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Limits of what a model may cost; None asks nothing. `max_drop`: points of the task's metric below dense."""

    max_latency_seconds: float | None = None
    min_speedup: float | None = None
    max_size_bytes: int | None = None
    max_drop: float | None = None

    @classmethod
    def of(cls, section: Mapping[str, Any]) -> "Budget":
        """Of a recipe's section `budget`, with its units. Raises InputError in one line."""
        latency, size = section.get("max_latency"), section.get("max_size")
        return cls(
            max_latency_seconds=None if latency is None else parse_seconds(latency, "max_latency"),
            min_speedup=section.get("min_speedup"),
            max_size_bytes=None if size is None else parse_bytes(size, "max_size"),
            max_drop=section.get("max_drop"),
        )

    @property
    def asks_for_speed_or_size(self) -> bool:
        """Whether the file alone says if it is met."""
        return any(
            value is not None for value in (self.max_latency_seconds, self.min_speedup, self.max_size_bytes)
        )

    def tightened(self, share: float) -> "Budget":
        """The same with so much less of time and size, for what is trained to meet it and turns out a little worse."""
        seconds, speedup, size = self.max_latency_seconds, self.min_speedup, self.max_size_bytes
        return replace(
            self,
            max_latency_seconds=None if seconds is None else seconds * (1 - share),
            min_speedup=None if speedup is None else speedup / (1 - share),
            max_size_bytes=None if size is None else round(size * (1 - share)),
        )

    def misses(self, figures: Figures, *, tolerance: float = 0.0) -> tuple[str, ...]:
        """What `figures` miss of speed and size, for a message; times may be off by the share `tolerance`."""
        return tuple(self._misses(figures, 1 + tolerance))

    def allows(self, drop: float) -> bool:
        """Whether so many points below dense are few enough."""
        return self.max_drop is None or drop <= self.max_drop

    def spoken(self) -> str:
        """`at most 10 ms, at least 3x dense, at most 50 MB, at most 1 point lost`."""
        parts = []
        if self.max_latency_seconds is not None:
            parts.append(f"at most {spoken_seconds(self.max_latency_seconds)}")
        if self.min_speedup is not None:
            parts.append(f"at least {self.min_speedup:g}x dense")
        if self.max_size_bytes is not None:
            parts.append(f"at most {spoken_bytes(self.max_size_bytes)}")
        if self.max_drop is not None:
            parts.append(f"at most {self.max_drop:g} point{'' if self.max_drop == 1 else 's'} lost")
        return ", ".join(parts)

    def _misses(self, figures: Figures, slack: float) -> Iterator[str]:
        seconds, speedup, size = self.max_latency_seconds, self.min_speedup, self.max_size_bytes
        if seconds is not None and figures.latency_seconds > seconds * slack:
            yield f"{spoken_seconds(figures.latency_seconds)} (limit {spoken_seconds(seconds)})"
        if speedup is not None and figures.speedup * slack < speedup:
            yield f"{figures.speedup:.2f}x the speed of dense (target {speedup:g}x)"
        if size is not None and figures.size_bytes > size:
            yield f"{spoken_bytes(figures.size_bytes)} (limit {spoken_bytes(size)})"
