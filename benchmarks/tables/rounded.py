"""8-bit values in tasks: the metric before and after rounding, and the speed of the same file."""

from collections.abc import Iterator, Mapping
from typing import Any

from tables.markdown import Table, setting_label

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_ratio
from platon_compress.report.words import NONE, UNITS, metric_figure, metric_name

__all__ = ["rounded_tables"]

_HEAD = (
    "model", "zeros", "metric", "dense", "dense int8", "compressed, float32", "8 bits", "8 bits against float32, points",
    "speed vs dense", "vs dense int8", "vs float32",
)  # fmt: skip
_RIVALS = ("dense", "dense_int8", "compressed_float32")


def rounded_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Table]]:
    """Each result and its table: a row for each run."""
    for entry in results.values():
        if entry["kind"] == "rounded":
            yield entry, Table(_HEAD, 3, list(map(_cells, entry["rows"])))


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    metric, change = row["metric"], row["change"]
    low, high = 100 * change["low"], 100 * change["high"]
    values = (
        metric_figure(metric, row["values"][name], 2) for name in ("dense", "dense_int8", "float32", "int8")
    )
    ratios = {ratio["baseline"]: format_ratio(PairedRatio.from_dict(ratio)) for ratio in row["ratios"]}
    return (
        f"{row['title']}, {setting_label(row['batch'], row['tokens'])}",
        f"{row['sparsity']:.0%}",
        f"{metric_name(metric, row['task'])} ({row['units']:,} {UNITS.get(row['unit'], 'units')})",
        *values,
        f"{100 * change['value']:+.2f} ({low:+.2f} to {high:+.2f})",
        *(ratios.get(rival, NONE) for rival in _RIVALS),
    )
