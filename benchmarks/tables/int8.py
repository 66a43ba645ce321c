"""8-bit weights: layers by kernel set over float32 ones of the same masks, and whole models beside dense int8."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tables.markdown import Table, kernels, setting_label

from platon_compress.measure.timing import compare
from platon_compress.report.tables import format_ratio
from platon_compress.report.words import NONE

__all__ = ["layer_tables", "model_tables", "summary_table"]

_LAYERS = {
    "int8 avx2": "8 bits, AVX2",
    "float32 avx512vnni": "float32, AVX-512",
    "int8 avx512vnni": "8 bits, AVX-512 with VNNI",
}
"""The sides of int8.py, all over its AVX2 kernels of float32, and the column of each."""
_MODELS = {"dense int8": "dense int8", "float32": "compressed, float32", "int8": "compressed, 8 bits"}

_SETTING = ("model", "batch", "tokens", "threads", "sparsity")
_HEAD = ("model", "size", "threads", "zeros", *_MODELS.values(), "8 bits over dense int8")
_SHOWN = (0.8, 0.9)  # zeros, in the README
_SHORT = 5  # ms before a run: back to back

Found = Iterator[tuple[Mapping[str, Any], Table]]


def layer_tables(results: Mapping[str, Mapping[str, Any]]) -> Found:
    """Each result of layers alone, and its table: speed over float32 with AVX2, least to most of the shapes."""
    head = ("tokens", "threads", "zeros", *_LAYERS.values())
    for entry in results.values():
        if entry["kind"] == "int8" and not entry["models"]:
            yield entry, Table(head, 0, list(_layer_rows(entry)))


def model_tables(results: Mapping[str, Mapping[str, Any]]) -> Found:
    """Each result with whole models, and its table: speed over dense, and of 8 bits over dense int8."""
    for entry in results.values():
        if entry["kind"] == "int8" and entry["models"]:
            yield entry, _model_table(entry["models"])


def summary_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """What the README shows of them, one text of 128 tokens and 80 and 90 % zeros, on each processor that was measured."""
    rows = [
        (kernels(entry), *_model_row(row))
        for entry in results.values()
        if entry["kind"] == "int8"
        for row in entry["models"]
        if (row["batch"], row["tokens"], _pause(row)) == (1, 128, _SHORT) and row["sparsity"] in _SHOWN
    ]
    return Table(("processor", *_HEAD), 3, rows)


def _model_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each setting, from its shortest pause; the last column is of its longest."""
    settings: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        settings[*(row[key] for key in _SETTING),].append(row)
    pause = max(_pause(row) for row in rows)
    head = (*_HEAD, *([f"8 bits after {pause} ms of idling"] if pause > _SHORT else []))
    ordered = [sorted(settings[setting], key=_pause) for setting in sorted(settings)]
    return Table(head, 2, [(*_model_row(same[0]), *_after(same, pause)) for same in ordered])


def _pause(row: Mapping[str, Any]) -> int:
    return row.get("pause_ms", _SHORT)


def _after(same: Sequence[Mapping[str, Any]], pause: int) -> Iterator[str]:
    """Speed over dense after the long pause; no column where nobody was measured so."""
    if pause > _SHORT:
        seconds = same[-1]["seconds"]
        after = format_ratio(compare(seconds, baseline="dense", candidate="int8"))
        yield after if _pause(same[-1]) == pause else NONE


def _layer_rows(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    settings: dict[tuple[int, int, float], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in entry["layers"]:
        for ratio in row["ratios"]:
            setting = row["rows"], row["threads"], row["sparsity"]
            settings[setting][ratio["candidate"]].append(ratio["median"])
    for (rows, threads, sparsity), medians in sorted(settings.items()):
        yield str(rows), str(threads), f"{sparsity:.0%}", *(_span(medians.get(side)) for side in _LAYERS)


def _span(medians: Sequence[float] | None) -> str:
    """A processor that lacks a kernel set has measured nothing of it."""
    return NONE if medians is None else f"{min(medians):.2f}x to {max(medians):.2f}x"


def _model_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = row["seconds"]
    pairs = [*(("dense", side) for side in _MODELS), ("dense int8", "int8")]
    speeds = (format_ratio(compare(seconds, baseline=rival, candidate=side)) for rival, side in pairs)
    size = setting_label(row["batch"], row["tokens"])
    return row["model"], size, str(row["threads"]), f"{row['sparsity']:.0%}", *speeds
