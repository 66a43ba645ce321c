"""Requests a second and their slowest hundredth, by the number of clients that ask at once."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from tables.markdown import Table, kernels

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_ratio
from platon_compress.report.words import NONE

__all__ = ["SERVING_NOTE", "serving_table"]

_SIDES = ("dense", "dense int8", "compressed")
_HEAD = (
    "processor", "model", "zeros", "clients", *(f"{side}, requests/s" for side in _SIDES), "over dense", "over dense int8",
    *(f"{side}, p99 in ms" for side in _SIDES),
)  # fmt: skip
SERVING_NOTE = (
    "Every client sends its next text when it has its answer, to one session that all share; texts come alone and unpadded, "
    "with the lengths of 128 real ones. Medians over windows of each file in turn; ratios of requests a second with their "
    "95 % interval. With more clients than cores a request waits for others, which p99 counts."
)


def serving_table(entries: Sequence[Mapping[str, Any]]) -> Table | None:
    """A row for each run and number of clients; None without a result."""
    rows = [(kernels(entry), *row) for entry in entries for run in entry["runs"] for row in _rows(run)]
    return Table(_HEAD, 3, rows) if rows else None


def _rows(run: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for row in run["rows"]:
        ratios = {ratio["baseline"]: PairedRatio.from_dict(ratio) for ratio in row["throughput_ratios"]}
        yield (
            str(run["title"]),
            f"{run['sparsity']:.0%}",
            f"{row['clients']}",
            *(_figure(row, side, "requests_per_second", 1, ".0f") for side in _SIDES),
            *(format_ratio(ratios[side]) if side in ratios else NONE for side in _SIDES[:2]),
            *(_figure(row, side, "p99_seconds", 1e3, ".1f") for side in _SIDES),
        )


def _figure(row: Mapping[str, Any], side: str, key: str, factor: float, style: str) -> str:
    windows = row["windows"].get(side)
    return format(factor * median(window[key] for window in windows), style) if windows else NONE
