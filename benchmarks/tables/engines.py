"""Results with random masks as one table: a row per model and setting, a column per sparsity."""

from collections.abc import Iterable, Mapping
from typing import Any

from platon_compress.measure.bench_report import BenchReport, SettingReport
from platon_compress.report.tables import format_milliseconds, format_ratio

__all__ = ["engine_rows"]


def engine_rows(entries: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(head, rows); each cell holds the speed against dense and against dense int8, "-" where not measured."""
    cells: dict[tuple[str, str], dict[float, str]] = {}
    dense: dict[tuple[str, str], list[float]] = {}
    for entry in entries:
        report = BenchReport.from_dict(entry)
        for setting in report.settings:
            key = (str(entry.get("title", "")), setting.label)
            cells.setdefault(key, {})[entry["sparsity"]] = _cell(report, setting)
            dense.setdefault(key, []).append(setting.samples[report.baseline].median_seconds)
    sparsities = sorted({sparsity for row in cells.values() for sparsity in row})
    head = ("model, random masks", "setting", "dense, ms", *(f"{sparsity:.0%}" for sparsity in sparsities))
    rows = [
        (*key, format_milliseconds(min(dense[key])), *(row.get(sparsity, "-") for sparsity in sparsities))
        for key, row in cells.items()
    ]
    return head, rows


def _cell(report: BenchReport, setting: SettingReport) -> str:
    ratios = (setting.ratio("compressed", name) for name in (report.baseline, "dense_int8"))
    return " / ".join(format_ratio(ratio) for ratio in ratios)
