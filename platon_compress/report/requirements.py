"""The figures of a run that a requirement can name: `--require "accuracy_drop<=1, speedup>=2"`."""

from collections.abc import Iterator
from statistics import median

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.budget import measured_figures
from platon_compress.report.run_data import RunData

__all__ = ["FIGURES", "figures"]

FIGURES = {
    "metric": "task metric of the compressed file, times 100",
    "metric_drop": "points by which the metric is below dense; negative if it is above",
    "metric_drop_int8": "points by which the metric is below dense int8",
    "metric_drop_float32": "points by which the metric is below that of the float32 form, before rounding to 8 bits",
    "accuracy": "alias of metric",
    "accuracy_drop": "alias of metric_drop",
    "accuracy_drop_int8": "alias of metric_drop_int8",
    "accuracy_drop_float32": "alias of metric_drop_float32",
    "speedup": "times the speed of dense, median of the pairs, in the slowest setting",
    "speedup_low": "lower end of its 95 % interval, in the setting where that is lowest",
    "speedup_int8": "times the speed of dense int8, as speedup",
    "speedup_int8_low": "lower end of its 95 % interval, as speedup_low",
    "speedup_float32": "times the speed of the float32 form, as speedup",
    "speedup_float32_low": "lower end of its 95 % interval, as speedup_low",
    "latency_ms": "median time of one run of the compressed file, in the slowest setting",
    "planned_latency_ms": "latency_ms at the plan's batch and tokens, where budgets apply",
    "planned_speedup": "speedup at the plan's batch and tokens",
    "size_mb": "compressed file on disk, in megabytes",
    "size_ratio": "size on disk relative to dense",
    "size_ratio_int8": "size on disk relative to dense int8",
    "sparsity": "zeros among the prunable weights, in percent",
    "max_difference": "largest difference on any route of the parity check, excluding 8-bit values",
}
"""Name to meaning, of everything that :func:`figures` may hold."""


def figures(run: RunData) -> dict[str, float]:
    """The measured ones of FIGURES by name. What was not measured is left out: nobody may take it for met.

    Nothing is left of a file that is gone, and no drop against a baseline that has not learnt its task.
    """
    if run.file_problem:
        return {}
    found = dict(_metrics(run))
    found.update(_speeds(run))
    found.update(_sizes(run))
    if (planned := measured_figures(run)) is not None:
        found |= {"planned_latency_ms": 1e3 * planned.latency_seconds, "planned_speedup": planned.speedup}
    if run.sparsity is not None:
        found["sparsity"] = 100 * run.sparsity
    if run.worst_difference is not None:
        found["max_difference"] = run.worst_difference
    return found


def _metrics(run: RunData) -> Iterator[tuple[str, float]]:
    ours = run.compressed_metric
    if ours is None:
        return
    for name in ("metric", "accuracy"):
        yield name, 100 * ours.value
        if run.not_learnt:
            continue
        rivals = (
            ("drop", run.dense_metric), ("drop_int8", run.int8_metric), ("drop_float32", run.float32_metric)
        )  # fmt: skip
        for rival, other in rivals:
            if other is not None:
                yield f"{name}_{rival}", 100 * (other.value - ours.value)


def _speeds(run: RunData) -> Iterator[tuple[str, float]]:
    settings = run.bench.settings
    rivals = (
        ("speedup", run.bench.baseline), ("speedup_int8", "dense_int8"), ("speedup_float32", "compressed_float32")
    )  # fmt: skip
    for name, baseline in rivals:
        ratios = [setting.ratio("compressed", baseline) for setting in settings]
        measured = [ratio for ratio in ratios if isinstance(ratio, PairedRatio)]
        if measured:
            yield name, min(ratio.median for ratio in measured)
        lows = [ratio.low for ratio in measured if ratio.low is not None]
        if lows and len(lows) == len(measured):
            yield f"{name}_low", min(lows)
    times = [setting.samples["compressed"].warm_seconds for setting in settings if setting.samples]
    if times:
        yield "latency_ms", 1e3 * max(median(seconds) for seconds in times)


def _sizes(run: RunData) -> Iterator[tuple[str, float]]:
    def disk(variant: str) -> int | None:
        found = run.bench.variants.get(variant)
        return found.size.disk_bytes if found is not None and found.size is not None else None

    ours = disk("compressed")
    if ours is None:
        return
    yield "size_mb", ours / 1e6
    for name, baseline in (("size_ratio", run.bench.baseline), ("size_ratio_int8", "dense_int8")):
        other = disk(baseline)
        if other:
            yield name, ours / other
