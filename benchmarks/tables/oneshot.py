"""Pruning without training: the metric that each method leaves."""

from collections.abc import Iterator, Mapping
from typing import Any

from tables.markdown import Table, counted

from platon_compress.report.words import metric_name

__all__ = ["oneshot_table", "oneshot_times"]

_HEAD = ("model", "metric", "zeros", "method", "dense", "pruned", "change, points", "seconds")


def oneshot_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """A row for each model, sparsity and method."""
    entries = [entry for entry in results.values() if entry["kind"] == "oneshot"]
    return Table(_HEAD, 4, [cells for entry in entries for cells in _rows(entry)])


def oneshot_times(results: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the whole command took, a sentence each."""
    return [_time(entry) for entry in results.values() if entry["kind"] == "oneshot-time"]


def _time(entry: Mapping[str, Any]) -> str:
    stages = sorted(entry["stages"].items(), key=lambda stage: -stage[1])[:4]
    threads = counted(entry["environment"]["threads"], "thread")
    longest = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in stages)
    return (
        f"{entry['title']}, {entry['sparsity']:.0%} zeros, {entry['values']}: {entry['seconds'] / 60:.1f} minutes from the "
        f"dense model to the measured file, of them {longest}; at most "
        f"{entry['peak_bytes'] / 1e9:.1f} GB of memory ({threads})."
    )


def _rows(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in entry["rows"]:
        change = row["difference"]
        yield (
            entry["title"],
            metric_name(entry["metric"]),
            f"{row['sparsity']:.0%}",
            row["method"],
            f"{100 * entry['dense']['value']:.1f}",
            f"{100 * row['value']:.1f}",
            f"{100 * change['value']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f})",
            f"{row['seconds']:.0f}",
        )
