"""What a plan is made for."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.limits import LIMITS

__all__ = ["VALUES", "Form", "PlanConfig"]

VALUES = ("float32", "int8", "auto")
"""What `plan.values` may be."""


class Form(StrEnum):
    """The representation of one weight in the compressed model."""

    DENSE = "dense"
    STRUCTURED = "structured"
    CSR = "csr"


@dataclass(frozen=True, kw_only=True)
class PlanConfig:
    """The workload and machine that a plan is made for.

    tokens: per sequence (patches for images); times `batch` = rows of every linear's input.
    threads: intra-op threads of the session; None: the cores this process may use.
    device: "cpu" or "cuda"; the sparse kernels run on the CPU only.
    cost_table: JSON file of `platon-compress calibrate`; None: the table that ships.
    force: this form for every weight that can take it, whatever the table says.
    min_speedup: CSR only where the table expects at least this factor over dense. 1.1: single measurements of the same
        session differ by several percent on a shared machine.
    values: how CSR weights are stored and multiplied: "float32"; "int8", 8-bit numbers with a scale per row; "auto", int8
        where the table expects it to be `min_speedup` times as fast as float32. 8-bit numbers are near the model's, not
        equal to them.
    """

    tokens: int
    batch: int = 1
    threads: int | None = None
    device: str = "cpu"
    cost_table: Path | None = None
    force: Form | None = None
    min_speedup: float = 1.1
    values: str = "float32"

    def __post_init__(self) -> None:
        for name in ("tokens", "batch", "threads"):
            _check_count(name, getattr(self, name))
        if self.device not in ("cpu", "cuda"):
            raise InputError(f"device must be 'cpu' or 'cuda', got {self.device!r}; take 'cpu'")
        if not isinstance(self.min_speedup, int | float) or not self.min_speedup >= 1:
            raise InputError(
                f"min_speedup must be >= 1, got {self.min_speedup!r}; 1.1 asks for 10 % over dense"
            )
        if self.force is not None:
            object.__setattr__(self, "force", _form(self.force))
        if self.values not in VALUES:
            raise InputError(
                f"values must be one of {', '.join(VALUES)}, got {self.values!r}; float32 rounds nothing"
            )
        if self.values == "int8" and (reason := self._without_csr):
            raise InputError(
                f"values is int8, but {reason}, so there is no CSR weight to store so; take float32 or auto"
            )
        if self.cost_table is not None:
            object.__setattr__(self, "cost_table", Path(self.cost_table))

    @property
    def _without_csr(self) -> str | None:
        """Why nothing can become CSR, if so."""
        if self.device == "cuda":
            return "the sparse kernels run on the CPU and device is cuda"
        return f"force is {self.force}" if self.force not in (None, Form.CSR) else None

    @property
    def rows(self) -> int:
        """Rows of every linear layer's input: tokens * batch."""
        return self.tokens * self.batch

    @property
    def used_threads(self) -> int:
        """``threads``, or the number of cores that this process may run on."""
        if self.threads is not None:
            return self.threads
        affinity = getattr(os, "sched_getaffinity", None)
        return len(affinity(0)) if affinity else os.cpu_count() or 1

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; :meth:`from_dict` reads it back."""
        return {**asdict(self), "cost_table": None if self.cost_table is None else str(self.cost_table)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PlanConfig":
        """Raises InputError for a field that does not exist or does not fit."""
        try:
            return cls(**data)
        except TypeError as error:
            raise InputError(f"the plan's config {dict(data)} does not fit: {error}; plan again") from error


def _check_count(name: str, value: object) -> None:
    if value is not None or name != "threads":
        LIMITS[f"plan.{name}"].check(name, value)


def _form(value: object) -> Form:
    try:
        return Form(str(value))
    except ValueError as error:
        known = ", ".join(Form)
        raise InputError(
            f"force must be one of {known}, got {value!r}; None lets the cost table choose"
        ) from error
