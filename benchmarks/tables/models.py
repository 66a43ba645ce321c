"""Models that were trained by single runs: speed, size and accuracy."""

from collections.abc import Mapping, Sequence
from typing import Any

from tables.markdown import Table, percent, setting_label
from tables.speed import SpeedRow

from platon_compress.measure.bench_report import BenchReport
from platon_compress.measure.peers.compare import BASELINE, INT8
from platon_compress.report.tables import format_milliseconds

__all__ = ["model_table"]

_MODEL_HEAD = (
    "model", "masks", "zeros", "size", "dense, ms", "compressed, ms", "vs dense", "vs dense int8", "file vs dense",
    "accuracy dense", "accuracy compressed",
)  # fmt: skip


def model_table(rows: Sequence[SpeedRow]) -> Table:
    """The rows of trained models."""
    trained = [row for row in rows if row.entry.get("accuracy")]
    return Table(_MODEL_HEAD, 4, [_model_cells(row) for row in trained])


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
