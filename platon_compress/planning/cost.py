"""The cost table: measured seconds of dense and CSR linear layers, and how it answers for other shapes.

Rules:

1. A cell is one (out, in, rows, threads); the nearest cell in log space answers, never an average of cells.
2. Farther than 4x in out, in or rows, or 2x in threads: no answer. A guess is not a measurement.
3. Within a cell CSR seconds are linear in density between two measured ones. Below the smallest density its own
   time holds (an upper bound); above the largest there is no answer.
4. Seconds are scaled by the work (out * in * rows) from the cell to the question; the ratio is the cell's.
5. Tables may lack CSR with 8-bit values (`csr_int8_seconds`); a cell that lacks it in one row has no answer for it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.files import read_json
from platon_compress.library import kernel_names, selected_kernel
from platon_compress.schemas import SCHEMAS, require_kind

__all__ = ["CostEstimate", "CostRow", "CostTable", "apart"]

_SHIPPED = "default_cost_table.json"
_FARTHEST = (4.0, 4.0, 4.0, 2.0)  # out, in, rows, threads
_MOST = 2.0**53  # of a count or a time; every whole number up to it is a float
_COUNTS = ("out", "in", "rows", "threads")
_NUMBERS = ("density", "dense_seconds", "csr_seconds")
_INT8 = "csr_int8_seconds"
_CURE = "write it again with `platon-compress calibrate`"

Cell = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """One measurement: a linear [out_features, in_features] on ``rows`` rows of input with ``threads`` threads."""

    out_features: int
    in_features: int
    density: float
    rows: int
    threads: int
    dense_seconds: float
    csr_seconds: float
    csr_int8_seconds: float | None = None

    @property
    def cell(self) -> Cell:
        """What the density varies within."""
        return self.out_features, self.in_features, self.rows, self.threads


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Expected seconds of one layer, and the measured cell (out, in, rows, threads) that says so.

    csr_int8_seconds: None where the table did not measure it.
    """

    dense_seconds: float
    csr_seconds: float
    cell: Cell
    csr_int8_seconds: float | None = None

    @property
    def speedup(self) -> float:
        """Dense seconds / CSR seconds; above 1 CSR is faster."""
        return self.dense_seconds / self.csr_seconds

    def csr_seconds_with(self, values: str) -> float:
        """With "float32" or "int8" values; where 8-bit ones were not measured float32's, which are slower, stand in."""
        return (self.csr_int8_seconds if values == "int8" else None) or self.csr_seconds


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
        return cls.from_dict(read_json(Path(path), _CURE), source=str(path))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], *, source: str = "shipped") -> "CostTable":
        """Check what calibrate writes and build the table."""
        data = _renamed(data)
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
        self, out_features: int, in_features: int, density: float, rows: int, threads: int
    ) -> CostEstimate | None:
        """The nearest cell's seconds, scaled; None when the table knows nothing near enough."""
        cell = self._nearest((out_features, in_features, rows, threads))
        if cell is None:
            return None
        measured = self._cells[cell]
        densities = [row.density for row in measured]
        if density > densities[-1] * (1 + 1e-9):
            return None
        work = out_features * in_features * rows / (cell[0] * cell[1] * cell[2])
        csr = float(np.interp(density, densities, [row.csr_seconds for row in measured]))
        dense = float(np.median([row.dense_seconds for row in measured]))
        int8 = [row.csr_int8_seconds for row in measured if row.csr_int8_seconds is not None]
        known = len(int8) == len(measured)
        return CostEstimate(
            dense_seconds=dense * work,
            csr_seconds=csr * work,
            cell=cell,
            csr_int8_seconds=float(np.interp(density, densities, int8)) * work if known else None,
        )

    def speedup(
        self, out_features: int, in_features: int, density: float, rows: int, threads: int
    ) -> float | None:
        """Expected dense seconds / CSR seconds, or None when the table knows nothing near enough."""
        found = self.estimate(out_features, in_features, density, rows, threads)
        return None if found is None else found.speedup

    def seconds_per_weight(
        self, out_features: int, in_features: int, density: float, rows: int, threads: int
    ) -> float | None:
        """CSR seconds that one weight fewer saves, averaged over the densities that pruning passes through.

        (t(high) - t(low)) / ((high - low) * out * in), t the CSR seconds of the nearest cell, scaled as in rule
        4, high its largest measured density and low the measured one at or above `density`, at most the next
        below high. With a single density t / (density * out * in). None where the table knows nothing near
        enough, or measured no saving.
        """
        cell = self._nearest((out_features, in_features, rows, threads))
        if cell is None:
            return None
        measured = self._cells[cell]
        high, below = measured[-1], measured[:-1]
        low = next((row for row in below if row.density >= density), below[-1] if below else None)
        seconds, share = high.csr_seconds, high.density
        if low is not None:
            seconds, share = seconds - low.csr_seconds, share - low.density
        # Per weight only the rows of the input differ between the cell and the question.
        cost = seconds / (share * cell[0] * cell[1]) * rows / cell[2]
        return cost if cost > 0 else None

    def unfit(self) -> str | None:
        """Why the shipped table does not speak for the library of this installation; None when it does.

        The library says which kernels it has and takes here, PLATON_FORCE_ISA respected. A table that the user
        measured or chose speaks for the target machine, which need not be this one.
        """
        if self.source != "shipped" or self.isa == "unknown":
            return None
        try:
            names, taken = kernel_names(), selected_kernel()
        except InputError as error:
            return f"the shipped cost table is for {self.isa} kernels, and here are none: {error}"
        if self.isa in names and names.index(taken) >= names.index(self.isa):
            return None
        return (
            f"the shipped cost table is for {self.isa} kernels, the library takes {taken} here; "
            "run `platon-compress calibrate`"
        )

    @cached_property
    def _cells(self) -> dict[Cell, list[CostRow]]:
        cells: dict[Cell, list[CostRow]] = {}
        for row in sorted(self.rows, key=lambda r: (r.cell, r.density)):
            cells.setdefault(row.cell, []).append(row)
        return cells

    def _nearest(self, question: Cell) -> Cell | None:
        distances = ((apart(question, cell), cell) for cell in self._cells)
        near = [(distance, cell) for distance, cell in distances if distance is not None]
        return min(near)[1] if near else None


def apart(question: Cell, measured: Cell) -> float | None:
    """How far a measured cell is from the one that is asked for, in log space; None where it gives no answer (rule 2)."""
    logs = [abs(math.log(a / b)) for a, b in zip(question, measured, strict=True)]
    too_far = any(log > math.log(limit) + 1e-9 for log, limit in zip(logs, _FARTHEST, strict=True))
    return None if too_far else math.hypot(*logs)


def _renamed(data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 1, with the rows of a layer's input still called tokens, as this release writes it."""
    old = isinstance(data, Mapping) and data.get("kind") == "cost-table" and data.get("schema") == 1
    if not old or not isinstance(data.get("rows"), list):
        return data
    rows = [{"rows": row.get("tokens"), **row} if isinstance(row, Mapping) else row for row in data["rows"]]
    return {**data, "schema": SCHEMAS["cost-table"], "rows": rows}


def _row(row: Any, number: int, source: str) -> CostRow:
    if not isinstance(row, Mapping):
        raise InputError(f"row {number} of the cost table {source} is not an object: {row!r}; {_CURE}")
    for name in (*_COUNTS, *_NUMBERS, *((_INT8,) if row.get(_INT8) is not None else ())):
        value: Any = row.get(name)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (name not in _COUNTS and isinstance(value, float))) or not 0 < value < _MOST:
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
        rows=row["rows"],
        threads=row["threads"],
        dense_seconds=float(row["dense_seconds"]),
        csr_seconds=float(row["csr_seconds"]),
        csr_int8_seconds=None if row.get(_INT8) is None else float(row[_INT8]),
    )
