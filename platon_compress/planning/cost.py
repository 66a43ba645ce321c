"""The cost table: measured seconds of dense and CSR linear layers, and how it answers for other shapes.

Rules:

1. A cell is one (out, in, tokens, threads); the nearest cell in log space answers, never an average of cells.
2. Farther than 4x in out, in or tokens, or 2x in threads: no answer. A guess is not a measurement.
3. Within a cell CSR seconds are linear in density between two measured ones. Below the smallest density its own
   time holds (an upper bound); above the largest there is no answer.
4. Seconds are scaled by the work (out * in * tokens) from the cell to the question; the ratio is the cell's.
"""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.schemas import require_kind

__all__ = ["CostEstimate", "CostRow", "CostTable"]

_SHIPPED = "default_cost_table.json"
_FARTHEST_SHAPE, _FARTHEST_THREADS = 4.0, 2.0
_COUNTS = ("out", "in", "tokens", "threads")
_NUMBERS = ("density", "dense_seconds", "csr_seconds")
_CURE = "write it again with `platon-compress calibrate`"

Cell = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One measurement: a linear [out_features, in_features] on ``tokens`` rows with ``threads`` threads."""

    out_features: int
    in_features: int
    density: float
    tokens: int
    threads: int
    dense_seconds: float
    csr_seconds: float

    @property
    def cell(self) -> Cell:
        """What the density varies within."""
        return self.out_features, self.in_features, self.tokens, self.threads


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Expected seconds of one layer, and the measured cell (out, in, tokens, threads) that says so."""

    dense_seconds: float
    csr_seconds: float
    cell: Cell

    @property
    def speedup(self) -> float:
        """Dense seconds / CSR seconds; above 1 CSR is faster."""
        return self.dense_seconds / self.csr_seconds


@dataclass(frozen=True)
class CostTable:
    """Measured rows of one machine. ``source`` is the file's name, ``shipped`` for the default."""

    rows: tuple[CostRow, ...]
    cpu: str
    isa: str
    onnxruntime: str
    source: str = "shipped"

    @classmethod
    def load(cls, path: Path | str | None = None) -> "CostTable":
        """Read a table; None reads the one that ships with the package.

        Raises:
            InputError: no such file, not JSON, or a field that is missing or does not fit.
        """
        if path is None:
            text = resources.files("platon_compress.planning").joinpath(_SHIPPED).read_text(encoding="utf-8")
            return cls.from_dict(json.loads(text))
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read the cost table {path}: {error.strerror}; {_CURE}") from error
        except ValueError as error:
            raise InputError(f"the cost table {path} is not JSON: {error}; {_CURE}") from error
        return cls.from_dict(data, source=str(path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "shipped") -> "CostTable":
        """Check what calibrate writes and build the table."""
        require_kind(data, "cost-table", f"the cost table {source}", _CURE)
        rows = data.get("rows")
        if not isinstance(rows, Sequence) or isinstance(rows, str) or not rows:
            raise InputError(f"the cost table {source} has no rows; {_CURE}")
        return cls(
            rows=tuple(_row(row, number, source) for number, row in enumerate(rows)),
            cpu=str(data.get("cpu", "unknown")),
            isa=str(data.get("isa", "unknown")),
            onnxruntime=str(data.get("onnxruntime", "unknown")),
            source=source,
        )

    def estimate(
        self, out_features: int, in_features: int, density: float, tokens: int, threads: int
    ) -> CostEstimate | None:
        """The nearest cell's seconds, scaled; None when the table knows nothing near enough."""
        cell = self._nearest((out_features, in_features, tokens, threads))
        if cell is None:
            return None
        rows = self._cells[cell]
        densities = [row.density for row in rows]
        if density > densities[-1] * (1 + 1e-9):
            return None
        work = out_features * in_features * tokens / (cell[0] * cell[1] * cell[2])
        csr = float(np.interp(density, densities, [row.csr_seconds for row in rows]))
        dense = float(np.median([row.dense_seconds for row in rows]))
        return CostEstimate(dense_seconds=dense * work, csr_seconds=csr * work, cell=cell)

    def speedup(
        self, out_features: int, in_features: int, density: float, tokens: int, threads: int
    ) -> float | None:
        """Expected dense seconds / CSR seconds, or None when the table knows nothing near enough."""
        found = self.estimate(out_features, in_features, density, tokens, threads)
        return None if found is None else found.speedup

    def seconds_per_weight(
        self, out_features: int, in_features: int, density: float, tokens: int, threads: int
    ) -> float | None:
        """CSR seconds that one weight fewer saves, averaged over the densities that pruning passes through.

        (t(high) - t(low)) / ((high - low) * out * in), t the CSR seconds of the nearest cell, scaled as in rule
        4, high its largest measured density and low the measured one at or above `density`, at most the next
        below high. With a single density t / (density * out * in). None where the table knows nothing near
        enough, or measured no saving.
        """
        cell = self._nearest((out_features, in_features, tokens, threads))
        if cell is None:
            return None
        rows = self._cells[cell]
        high, below = rows[-1], rows[:-1]
        low = next((row for row in below if row.density >= density), below[-1] if below else None)
        seconds, share = high.csr_seconds, high.density
        if low is not None:
            seconds, share = seconds - low.csr_seconds, share - low.density
        # Per weight only the tokens differ between the cell and the question.
        cost = seconds / (share * cell[0] * cell[1]) * tokens / cell[2]
        return cost if cost > 0 else None

    def missing_isa(self) -> str | None:
        """The instruction set of the shipped table when this machine lacks it, else None.

        A table that the user measured or chose speaks for the target machine, which need not be this one.
        """
        if self.source != "shipped" or self.isa in ("scalar", "unknown"):
            return None
        return None if _host_has(self.isa) else self.isa

    @cached_property
    def _cells(self) -> dict[Cell, list[CostRow]]:
        cells: dict[Cell, list[CostRow]] = {}
        for row in sorted(self.rows, key=lambda r: (r.cell, r.density)):
            cells.setdefault(row.cell, []).append(row)
        return cells

    def _nearest(self, question: Cell) -> Cell | None:
        limits = (_FARTHEST_SHAPE, _FARTHEST_SHAPE, _FARTHEST_SHAPE, _FARTHEST_THREADS)
        best: tuple[float, Cell] | None = None
        for cell in self._cells:
            logs = [abs(math.log(a / b)) for a, b in zip(question, cell, strict=True)]
            if any(log > math.log(limit) + 1e-9 for log, limit in zip(logs, limits, strict=True)):
                continue
            candidate = (math.hypot(*logs), cell)
            best = candidate if best is None else min(best, candidate)
        return None if best is None else best[1]


def _row(row: Any, number: int, source: str) -> CostRow:
    if not isinstance(row, Mapping):
        raise InputError(f"row {number} of the cost table {source} is not an object: {row!r}; {_CURE}")
    for name in (*_COUNTS, *_NUMBERS):
        value: Any = row.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (name in _NUMBERS and isinstance(value, float))) or not 0 < value < math.inf:
            raise InputError(
                f"row {number} of the cost table {source} has {name} = {value!r}, not above 0; {_CURE}"
            )
    if row["density"] > 1:
        raise InputError(
            f"row {number} of the cost table {source} has density {row['density']}, above 1; {_CURE}"
        )
    return CostRow(
        out_features=row["out"],
        in_features=row["in"],
        density=float(row["density"]),
        tokens=row["tokens"],
        threads=row["threads"],
        dense_seconds=float(row["dense_seconds"]),
        csr_seconds=float(row["csr_seconds"]),
    )


def _host_has(isa: str) -> bool:
    """Whether this CPU has the flags; True where Linux does not tell."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    if not os.path.exists("/proc/cpuinfo"):
        return True
    flags = (
        Path("/proc/cpuinfo")
        .read_text(encoding="utf-8", errors="replace")
        .split("flags", 1)[-1]
        .split("\n")[0]
    )
    return (isa if isa != "avx512" else "avx512f") in flags.split()
