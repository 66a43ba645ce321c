"""How many inputs every fuzz target got, and how they ended."""

from collections.abc import Mapping
from typing import Any

from tables.markdown import Table

from platon_compress.report.words import NONE

__all__ = ["fuzz_table"]

_HEAD = (
    "target",
    "inputs",
    "refused by the first check",
    "refused later",
    "accepted",
    "faults",
    "lines covered",
)


def fuzz_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each target."""
    rows = [row for entry in results.values() if entry["kind"] == "fuzz" for row in entry["rows"]]
    return Table(_HEAD, 1, [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    counts = (f"{row[name]:,}" for name in ("inputs", "first_check", "refused", "accepted", "faults"))
    covered = row.get("coverage")
    return (row["title"], *counts, f"{covered['share']:.1%}" if covered else NONE)
