"""What more threads can gain by the way the work is cut: whole blocks, and the loops that limit them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tables.markdown import Table, setting_label

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_ratio
from platon_compress.report.words import NONE

__all__ = ["threads_tables"]

_LOOP_HEAD = (
    "90% zeros, 16 threads",
    "loop",
    "items",
    "at most",
    "longest thread over mean",
    "waits",
    "work",
)


def threads_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Bounds by model and setting, those of other cuts where they differ.

    Then the loops of random masks of 90 % with the most threads.
    """
    for entry in results.values():
        if entry["kind"] == "threads":
            yield _blocks(entry["rows"])
            yield Table(_LOOP_HEAD, 2, list(_loops(entry["rows"])))


def _blocks(rows: Sequence[Mapping[str, Any]]) -> Table:
    items = [
        {(cut["least_rows"], cut["threads"]): cut["fewest_items"] for cut in row["cuts"]} for row in rows
    ]
    cuts = [
        (least, threads)
        for least, threads in dict.fromkeys(cut for found in items for cut in found)
        if least == 0 or any(found.get((least, threads)) != found.get((0, threads)) for found in items)
    ]
    measured = dict.fromkeys(entry["threads"] for row in rows for entry in row["measured"])
    head = (
        "one block", "masks", "zeros", "setting", "one thread", *(_cut_name(*cut) for cut in cuts),
        *(f"{threads} threads measured (simulated)" for threads in measured),
    )  # fmt: skip
    return Table(head, 4, [_block(row, cuts, list(measured)) for row in rows])


def _cut_name(least_rows: int, threads: int) -> str:
    cut = f", chunks of {least_rows} rows" if least_rows else ""
    return f"{threads} threads{cut}"


def _block(
    row: Mapping[str, Any], cuts: Sequence[tuple[int, int]], measured: Sequence[int]
) -> tuple[str, ...]:
    bounds = {(cut["least_rows"], cut["threads"]): f"{cut['bound']:.1f}x" for cut in row["cuts"]}
    found = {
        entry["threads"]: f"{format_ratio(PairedRatio.from_dict(entry['ratio']))}; {entry['simulated']:.2f}x"
        for entry in row["measured"]
    }
    return (
        row["model"], row["masks"], f"{row['sparsity']:.0%}", setting_label(row["batch"], row["tokens"]),
        f"{row['alone_seconds'] / row['blocks'] * 1e3:.2f} ms", *(bounds.get(cut, NONE) for cut in cuts),
        *(found.get(threads, NONE) for threads in measured),
    )  # fmt: skip


def _loops(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in rows:
        if (row["masks"], row["sparsity"]) != ("random", 0.9) or row["batch"] != 1:
            continue
        own = [cut for cut in row["cuts"] if cut["least_rows"] == 0]
        most = max(own, key=lambda cut: int(cut["threads"]), default=None)
        for loop in most["loops"] if most else ():
            yield (
                f"{row['model']}, {setting_label(row['batch'], row['tokens'])}", loop["name"],
                str(loop["fewest_items"]), f"{loop['bound']:.1f}x", f"{loop['balance']:.2f}",
                f"{loop['waits']:.0%}", f"{loop['work']:.2f}x",
            )  # fmt: skip
