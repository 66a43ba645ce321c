"""The README's rows of trained models: what a preset gives for a task, a few of those in `tables.quality`."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import Table
from tables.quality import row_cells

from platon_compress.errors import InputError

__all__ = ["SHOWN", "trained_table"]

SHOWN: Sequence[tuple[str, str, float]] = (
    ("quality-criteria", "platon-on-longer", 0.5),
    ("quality-criteria", "platon-on-longer", 0.8),
    ("quality-criteria", "fisher-on-longer", 0.9),
    ("quality-presets", "regression-balanced", 0.8),
    ("quality-tasks", "image-classification-on-longer", 0.8),
    ("quality-tasks", "question-answering-longer", 0.8),
)
"""(result, row, zeros): at most six."""

_HEAD = (
    "model", "data", "zeros", "metric", "dense", "compressed", "change from dense", "change from dense, same teacher",
    "speed vs dense", "speed vs dense int8", "file vs dense",
)  # fmt: skip


def trained_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each of SHOWN. Raises InputError for one that no result holds."""
    rows = [_cells(results, *shown) for shown in SHOWN]
    return Table(_HEAD, 4, [[cells[column] for column in _HEAD] for cells in rows])


def _cells(results: Mapping[str, Mapping[str, Any]], stem: str, name: str, zeros: float) -> dict[str, str]:
    entry = results.get(stem, {"rows": ()})
    for row in entry["rows"]:
        if (row["row"], row["sparsity"]) == (name, zeros):
            return row_cells(entry, row)
    raise InputError(f"the README shows {name} of {stem}, which no result holds; change SHOWN in {__file__}")
