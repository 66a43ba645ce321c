"""Attention alone: 8-bit numbers over floats."""

from collections.abc import Iterator, Mapping
from typing import Any

from tables.markdown import KERNELS, Table

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_ratio

__all__ = ["attention_tables"]

_SETS = {f"int8 {kernels}": words for kernels, words in KERNELS.items()}


def attention_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Table]]:
    """Each result and its table: a row for each size, a column for each kernel set that was there."""
    for entry in results.values():
        if entry["kind"] == "attention":
            measured = {ratio["candidate"] for row in entry["rows"] for ratio in row["ratios"]}
            sets = [name for name in _SETS if name in measured]
            head = ("tokens x batch", "threads", *(_SETS[name] for name in sets))
            yield entry, Table(head, 0, [_row(row, sets) for row in entry["rows"]])


def _row(row: Mapping[str, Any], sets: list[str]) -> tuple[str, ...]:
    ratios = {ratio["candidate"]: format_ratio(PairedRatio.from_dict(ratio)) for ratio in row["ratios"]}
    return f"{row['tokens']} x {row['batch']}", str(row["threads"]), *(ratios[name] for name in sets)
