"""The files of several runs as points: task metric, latency, bytes. Nothing here judges.

Latencies of different runs were taken at different times, so a file's latency is its speed over dense in its own run's
pairs, applied to one dense latency for all of them: the median of the runs. A run whose dense model is another one (half of
the layers, say) keeps its own milliseconds.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from platon_compress.errors import InputError
from platon_compress.measure.bench_report import SettingReport
from platon_compress.report.run_data import Metric, RunData
from platon_compress.report.words import VARIANTS
from platon_compress.scoring import Difference

__all__ = ["Candidate", "Setting", "candidates_of", "chosen_setting", "dense_seconds"]

Setting = tuple[int, int | None]
"""Batch size and tokens; None for inputs of fixed size."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One file of one run.

    metric: a fraction. change: against the first run's dense model; None for that model. speed: over the dense model of
    its own run. seconds: see the top of this module.
    """

    run: str
    label: str
    file: str
    variant: str
    metric: float
    change: Difference | None
    speed: float
    seconds: float
    disk_bytes: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        change = self.change
        return {
            "run": self.run,
            "label": self.label,
            "file": self.file,
            "variant": self.variant,
            "metric": self.metric,
            "change": None if change is None else [change.value, change.low, change.high],
            "speed": self.speed,
            "seconds": self.seconds,
            "disk_bytes": self.disk_bytes,
        }


def chosen_setting(runs: Sequence[RunData], batch: int | None, tokens: int | None) -> Setting:
    """The first setting that every run measured, of `batch` and `tokens` where they are given. Raises InputError."""
    shared = [
        setting
        for setting in map(_sizes, runs[0].bench.settings)
        if all(setting in map(_sizes, run.bench.settings) for run in runs)
        and (batch is None or setting[0] == batch)
        and (tokens is None or setting[1] == tokens)
    ]
    if not shared:
        wanted = "".join(
            f", {name} {size}" for name, size in (("batch", batch), ("tokens", tokens)) if size is not None
        )
        raise InputError(
            f"there is no size that all {len(runs)} runs measured{wanted}; measure them alike: "
            "bench model -o RUN --batch 1 --tokens 128"
        )
    return shared[0]


def candidates_of(runs: Sequence[RunData], setting: Setting) -> list[Candidate]:
    """Every file with a metric and a latency; dense models that are the same one stand once.

    Raises InputError for runs that cannot be compared: another task, metric, examples, machine or number of threads.
    """
    _check_alike(runs)
    reference = runs[0].dense_metric
    found: dict[tuple[Any, ...], Candidate] = {}
    for run, seconds in zip(runs, dense_seconds(runs, setting), strict=True):
        own = seconds if _same_dense(run, runs) else None
        for point in _points(run, setting, reference, own, first=run is runs[0]):
            rival = point.variant.startswith("dense")
            same = (point.variant, point.metric, _parameters(run)) if rival else (point.file,)
            found.setdefault(same, point)
    return list(found.values())


def dense_seconds(runs: Sequence[RunData], setting: Setting) -> list[float]:
    """By run the latency of its dense model: one for all whose dense model is the first run's."""
    own = [_measured(run, setting).samples["dense"].median_seconds for run in runs]
    shared = median(seconds for run, seconds in zip(runs, own, strict=True) if _same_dense(run, runs))
    return [shared if _same_dense(run, runs) else seconds for run, seconds in zip(runs, own, strict=True)]


def _same_dense(run: RunData, runs: Sequence[RunData]) -> bool:
    return _parameters(run) == _parameters(runs[0])


def _points(
    run: RunData, setting: Setting, reference: Metric | None, dense: float | None, *, first: bool
) -> Iterator[Candidate]:
    measured, metrics = _measured(run, setting), _metrics(run)
    for name, samples in measured.samples.items():
        variant, metric = run.bench.variants[name], metrics.get(name)
        if metric is None or variant.size is None:
            continue
        ratio = measured.ratio(name, "dense")
        speed = 1.0 if name == "dense" else ratio.median if ratio is not None else None
        if speed is None:
            continue
        yield Candidate(
            run=run.folder.name,
            label=f"{run.folder.name}: {VARIANTS[name]}",
            file=str(run.folder / "onnx" / variant.file),
            variant=name,
            metric=metric.value,
            change=None if reference is None or (first and name == "dense") else metric.minus(reference),
            speed=speed,
            seconds=samples.median_seconds if dense is None else dense / speed,
            disk_bytes=variant.size.disk_bytes,
        )


def _metrics(run: RunData) -> Mapping[str, Metric]:
    found = {
        "dense": run.dense_metric,
        "dense_int8": run.int8_metric,
        "compressed_float32": run.float32_metric,
        "compressed": run.compressed_metric,
    }
    return {name: metric for name, metric in found.items() if metric is not None}


def _check_alike(runs: Sequence[RunData]) -> None:
    for run in runs:
        if not run.has_dense_model or run.compressed_metric is None:
            raise InputError(
                f"{run.folder} has no task metric of dense and compressed to compare; run it with data and a dense model"
            )
    first = runs[0]
    for name, cure in _ALIKE.items():
        wanted = _facts(first)[name]
        for run in runs[1:]:
            if (found := _facts(run)[name]) != wanted:
                raise InputError(
                    f"{run.folder} differs in its {name} ({found}; {first.folder}: {wanted}); {cure}"
                )


_AGAIN = "measure on one machine: bench model -o RUN"
_ALIKE = {
    "task": "compare runs of one task",
    "metric": "judge them by one metric",
    "examples": "judge them on the same rows",
    "processor": _AGAIN,
    "threads": _AGAIN,
}


def _facts(run: RunData) -> dict[str, Any]:
    metric, environment = run.compressed_metric, run.bench.environment
    return {
        "task": run.task,
        "metric": metric.name if metric else None,
        "examples": metric.examples if metric else None,
        "processor": environment.get("cpu_model"),
        "threads": environment.get("threads"),
    }


def _sizes(setting: SettingReport) -> Setting:
    return setting.batch, setting.tokens


def _measured(run: RunData, setting: Setting) -> SettingReport:
    return next(entry for entry in run.bench.settings if _sizes(entry) == setting)


def _parameters(run: RunData) -> int | None:
    size = run.bench.variants["dense"].size
    return size.parameters if size else None
