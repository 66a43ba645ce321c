"""What a model benchmark measures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from platon_compress.errors import InputError

__all__ = ["DEVICES", "BenchConfig"]

DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Settings of :func:`run_benchmark`; every (batch, tokens) pair is one setting.

    batch, tokens: positive sizes; `tokens` is ignored for models whose input has fixed sizes (images).
    runs, warmup: rounds kept and rounds thrown away per setting; one round calls every variant once.
    round_seconds: a setting gets this much time for each of its `runs`; where its rounds take longer, fewer are kept,
        but at least 12. None: all of them, however long.
    cold_runs: fresh processes per variant, at the first setting, for load time, first inference and memory.
    threads: intra-op threads of every session, None for all usable cores; equal for all variants.
    device: "cpu" or "cuda"; "cuda" measures only where the CUDA provider is really active.
    pause_seconds: wait before every timed call, see :mod:`platon_compress.measure.timing`.
    seed: of the generated inputs.
    variants: names of VARIANTS to measure; None: every file that is there.
    """

    batch: tuple[int, ...] = (1, 8)
    tokens: tuple[int, ...] = (32, 128)
    runs: int = 50
    warmup: int = 5
    round_seconds: float | None = 0.4
    cold_runs: int = 2
    threads: int | None = None
    device: str = "cpu"
    pause_seconds: float = 0.005
    seed: int = 0
    variants: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("batch", "tokens"):
            object.__setattr__(self, name, _sizes(name, getattr(self, name)))
        for name, least in (("runs", 1), ("warmup", 0), ("cold_runs", 0)):
            _at_least(name, getattr(self, name), least)
        if self.variants is not None:
            object.__setattr__(self, "variants", tuple(self.variants))
        if self.threads is not None:
            _at_least("threads", self.threads, 1)
        if self.device not in DEVICES:
            raise InputError(f"unknown device {self.device!r}; choose one of {', '.join(DEVICES)}")
        if self.round_seconds is not None and not self.round_seconds > 0:
            raise InputError(
                f"round_seconds must be above 0 or None, got {self.round_seconds}; 0.4 is the default"
            )
        if not 0 <= self.pause_seconds <= 10:
            raise InputError(
                f"pause_seconds must lie in [0, 10], got {self.pause_seconds}; 0.005 is the default"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"batch": list(self.batch), "tokens": list(self.tokens)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BenchConfig":
        """Raises InputError on unknown keys."""
        unknown = sorted(set(data) - {field.name for field in fields(cls)})
        if unknown:
            raise InputError(f"unknown benchmark setting {unknown[0]!r}; known: {_known(cls)}")
        return cls(**data)


def _known(cls: type[BenchConfig]) -> str:
    return ", ".join(field.name for field in fields(cls))


def _sizes(name: str, value: Any) -> tuple[int, ...]:
    sizes = (value,) if isinstance(value, int) else tuple(value)
    if not sizes:
        raise InputError(f"{name} is empty; give at least one size, for example {name}=(1,)")
    for size in sizes:
        _at_least(name, size, 1)
    return tuple(dict.fromkeys(sizes))


def _at_least(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(
            f"{name} must be a whole number >= {least}, got {value!r}; write for example {max(least, 8)}"
        )
