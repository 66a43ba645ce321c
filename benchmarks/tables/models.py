"""Models that were trained: speed, size and accuracy; and the few rows that the README shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import Table, percent, setting_label
from tables.speed import BACK_TO_BACK, CONDITIONS, SpeedRow

from platon_compress.errors import InputError
from platon_compress.measure.bench_report import BenchReport
from platon_compress.measure.peers.compare import BASELINE, INT8
from platon_compress.report.tables import format_milliseconds

__all__ = ["model_table", "summary_table"]

_IDLE = list(CONDITIONS)[1]
_SUMMARY: tuple[tuple[str, int, int | None, str], ...] = (
    ("demo", 1, None, BACK_TO_BACK),
    ("minilm-sst2-80", 1, 64, BACK_TO_BACK),
    ("minilm-sst2-90", 1, 64, BACK_TO_BACK),
    ("bert-base-random-90-batch1-tokens128", 1, 128, BACK_TO_BACK),
    ("bert-base-random-90-peers-batch1-tokens128-torch-openvino", 1, 128, _IDLE),
    ("vit-b16-random-90-batch1", 1, None, BACK_TO_BACK),
)
"""(result, batch, tokens, condition) of the README's rows: at most six."""

_SUMMARY_HEAD = (
    "model", "zeros", "size", "condition", "dense, ms", "compressed, ms", "vs dense", "vs dense int8", "file vs dense",
    "accuracy, dense and compressed",
)  # fmt: skip
_MODEL_HEAD = (
    "model", "masks", "zeros", "size", "dense, ms", "compressed, ms", "vs dense", "vs dense int8", "file vs dense",
    "accuracy dense", "accuracy compressed",
)  # fmt: skip


def summary_table(rows: Sequence[SpeedRow]) -> Table:
    """The README's rows, of float weights. Raises InputError for a result that is gone."""
    found = {(row.stem, row.batch, row.tokens, row.condition): row for row in rows if not row.form}
    if missing := [key for key in _SUMMARY if key not in found]:
        raise InputError(
            f"the README shows {missing[0]}, which no result holds; change _SUMMARY in {__file__}"
        )
    return Table(_SUMMARY_HEAD, 4, [_summary_cells(found[key]) for key in _SUMMARY])


def model_table(rows: Sequence[SpeedRow]) -> Table:
    """The rows of trained models."""
    trained = [row for row in rows if row.entry.get("accuracy")]
    return Table(_MODEL_HEAD, 4, [_model_cells(row) for row in trained])


def _summary_cells(row: SpeedRow) -> tuple[str, ...]:
    measured = [_accuracy(row.entry, name) for name in ("dense", "compressed")]
    accuracy = " and ".join(measured) if row.entry.get("accuracy") else "random masks"
    return (
        row.title,
        percent(row.entry),
        setting_label(row.batch, row.tokens),
        row.condition,
        format_milliseconds(row.dense_seconds),
        format_milliseconds(row.compressed_seconds),
        row.ratios.get(BASELINE, "-"),
        row.ratios.get(INT8, "-"),
        _size_ratio(row.entry),
        accuracy,
    )


def _model_cells(row: SpeedRow) -> tuple[str, ...]:
    return (
        row.title,
        str(row.entry["masks"]),
        percent(row.entry),
        setting_label(row.batch, row.tokens),
        format_milliseconds(row.dense_seconds),
        format_milliseconds(row.compressed_seconds),
        row.ratios.get(BASELINE, "-"),
        row.ratios.get(INT8, "-"),
        _size_ratio(row.entry),
        *(_accuracy(row.entry, name) for name in ("dense", "compressed")),
    )


def _size_ratio(entry: Mapping[str, Any]) -> str:
    if entry["kind"] != "benchmark":
        return "-"
    report = BenchReport.from_dict(entry)
    sizes = [
        report.variants[name].size for name in ("compressed", report.baseline) if name in report.variants
    ]
    ours, dense = sizes if len(sizes) == 2 else (None, None)
    return f"{ours.disk_bytes / dense.disk_bytes:.2f}x" if ours and dense else "-"


def _accuracy(entry: Mapping[str, Any], name: str) -> str:
    """In percent with its standard error."""
    metric = entry.get("accuracy", {}).get(name)
    return f"{metric['accuracy']:.1%} ± {metric['standard_error']:.1%}" if metric else "not measured"
