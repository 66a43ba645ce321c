"""The models of `tables.quality` that README and the pages of tasks show: what a preset gives, where one was trained."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import Table
from tables.quality import Found, row_cells

from platon_compress.errors import InputError

__all__ = ["PAGES", "SHOWN", "rows_of_task", "trained_table"]

_Named = tuple[str, str, float]
"""Result, row, zeros."""

SHOWN: Sequence[_Named] = (
    ("quality-criteria", "platon-on-longer", 0.5),
    ("quality-criteria", "platon-on-longer", 0.8),
    ("quality-criteria", "fisher-on-longer", 0.9),
    ("quality-presets", "regression-balanced", 0.8),
    ("quality-tasks", "image-classification-on-longer", 0.8),
    ("quality-tasks", "question-answering-longer", 0.8),
)
"""README's: at most six."""

PAGES: Mapping[str, Sequence[_Named]] = {
    "text-classification": (
        ("quality-criteria", "platon-on-longer", 0.5),
        ("quality-criteria", "platon-on-longer", 0.8),
        ("quality-criteria", "fisher-on-longer", 0.9),
        ("quality-criteria", "fisher", 0.95),
        ("quality-presets", "regression-balanced", 0.8),
        ("quality-topics", "balanced-longer", 0.8),
        ("quality-structured", "structured", 0.5),
    ),
    "token-classification": (
        ("quality-presets-avx2", "token-classification-balanced", 0.8),
        ("quality-criteria", "entities-platon", 0.8),
    ),
    "question-answering": (
        ("quality-tasks", "question-answering-longer", 0.8),
        ("quality-tasks", "question-answering", 0.8),
    ),
    "image-classification": (
        ("quality-tasks", "image-classification-on-longer", 0.8),
        ("quality-structured", "structured-vit", 0.48),
    ),
    "sentence-similarity": (
        ("quality-presets-avx2", "sentence-similarity-balanced", 0.8),
        ("quality-tasks", "sentence-similarity", 0.8),
    ),
    "text-ranking": (
        ("quality-presets-avx2", "text-ranking-balanced", 0.8),
        ("quality-tasks", "text-ranking", 0.8),
    ),
}
"""By task, the shipped settings first."""

_HEAD = (
    "model", "data", "zeros", "metric", "dense", "compressed", "change from dense", "change from dense, same teacher",
    "speed vs dense", "speed vs dense int8", "file vs dense",
)  # fmt: skip


def trained_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each of SHOWN. Raises InputError for one that no result holds."""
    rows = [row_cells(*_found(results, *shown)) for shown in SHOWN]
    return Table(_HEAD, 4, [[cells[column] for column in _HEAD] for cells in rows])


def rows_of_task(results: Mapping[str, Mapping[str, Any]], task: str) -> list[Found]:
    """The task's PAGES as (grid, row). Raises InputError for one that no result holds."""
    return [_found(results, *shown) for shown in PAGES[task]]


def _found(results: Mapping[str, Mapping[str, Any]], stem: str, name: str, zeros: float) -> Found:
    entry = results.get(stem, {"rows": ()})
    for row in entry["rows"]:
        if (row["row"], row["sparsity"]) == (name, zeros):
            return entry, row
    raise InputError(
        f"the pages show {name} of {stem}, which no result holds; change the lists in {__file__}"
    )
