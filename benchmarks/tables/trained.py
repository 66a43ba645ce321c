"""The README's rows of trained models: what a preset gives for a task, a few of those in `tables.quality`."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import Table, setting_label
from tables.quality import cells_of, file_share, in_points, shown_setting

from platon_compress.errors import InputError
from platon_compress.report.tables import format_ratio
from platon_compress.report.words import NONE, metric_figure, metric_name

__all__ = ["SHOWN", "trained_table"]

SHOWN: Sequence[tuple[str, str, float]] = (
    ("quality-criteria", "platon-on-longer", 0.5),
    ("quality-criteria", "platon-on-longer", 0.8),
    ("quality-criteria", "fisher-on-longer", 0.9),
    ("quality-topics", "balanced-longer", 0.8),
    ("quality-tasks", "image-classification-on-longer", 0.8),
    ("quality-tasks", "question-answering-longer", 0.8),
)
"""(result, row, zeros): at most six."""

_HEAD = (
    "model and data", "zeros", "size", "dense", "compressed", "change, points", "the same steps and teacher",
    "vs dense", "vs dense int8", "file vs dense",
)  # fmt: skip


def trained_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each of SHOWN. Raises InputError for one that no result holds."""
    return Table(_HEAD, 3, [_cells(results, *shown) for shown in SHOWN])


def _cells(results: Mapping[str, Mapping[str, Any]], stem: str, name: str, zeros: float) -> tuple[str, ...]:
    entry = results.get(stem, {"rows": ()})
    row = next((row for row in entry["rows"] if (row["row"], row["sparsity"]) == (name, zeros)), None)
    if row is None:
        raise InputError(
            f"the README shows {name} of {stem}, which no result holds; change SHOWN in {__file__}"
        )
    first, changes, metric = cells_of(entry, row)[0], row["differences"], row["metric"]
    setting = shown_setting(first)
    dense, compressed = (
        metric_figure(metric, row["values"][side][metric]) for side in ("dense", "compressed")
    )
    rivals = ("dense", "dense_int8")
    ratios = [None if setting is None else setting.ratio("compressed", rival) for rival in rivals]
    return (
        f"{row['model']}, {row['data'].partition(', ')[0]}",
        f"{zeros:.0%}",
        NONE if setting is None else setting_label(setting.batch, setting.tokens),
        f"{metric_name(metric)} {dense}",
        compressed,
        in_points(changes["dense"]),
        in_points(changes.get("taught")),
        *map(format_ratio, ratios),
        file_share(first),
    )
