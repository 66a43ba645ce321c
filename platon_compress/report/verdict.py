"""The verdict: one line that says whether compression paid off, and says no when the answer is no.

Rules, in this order:

1. Nothing timed (device not active): "not measured", with the reason.
2. Parity failed: no. A model that computes something else is not a faster version of this one.
3. The native kernel did not run although the file holds sparse linears: no. The times are those of dense
   operators.
4. Speed is judged against the dense model (trained with the same steps where there is one): faster in no
   setting: no, with "no measurable difference" where the interval of the ratio holds 1.
5. The metric is below dense by more than LARGE_DROP and by more than two standard errors: no.
6. Dense dynamic int8, the cheap alternative, is faster, on disk no larger, and its metric is not lower: no.
7. A "yes" needs: faster than dense in every setting; smaller on disk; metric not lower than dense by more than
   two standard errors, nor by more than NOTABLE_DROP when the examples are too few to tell; not slower than
   int8 anywhere. Anything else is "mixed", and names what is against it.

The line always holds sparsity, distillation where the pruned model had it, speed against dense at each setting
(the first and the range beyond four), against int8, size ratio on disk and of the encoder, and the metric's
difference with its standard error.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from platon_compress.measure.bench_report import BenchReport, SettingReport
from platon_compress.measure.timing import PairedRatio
from platon_compress.report.run_data import Metric, RunData

__all__ = ["LARGE_DROP", "NOTABLE_DROP", "Answer", "Verdict", "judge"]

Answer = Literal["yes", "mixed", "no", "not measured"]

LARGE_DROP = 0.05
"""A metric this far below dense is no longer the same model for most users, however fast it is."""

NOTABLE_DROP = 0.02
"""A drop of this size is named even when the examples are too few to tell it from chance."""

_SHOWN_SETTINGS = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`line` begins with "Verdict: " and is one line; `against` lists what spoke against a yes."""

    answer: Answer
    line: str
    against: tuple[str, ...] = ()


def judge(run: RunData) -> Verdict:
    """Apply the rules above. Never raises for missing stages; it says what was not measured."""
    if run.bench.unavailable:
        return _verdict("not measured", [run.bench.unavailable], _facts(run))
    fatal = list(_fatal(run))
    against = [*fatal, *_against(run)]
    if not against:
        return _verdict("yes", [_praise(run)], _facts(run))
    return _verdict("no" if fatal else "mixed", against, _facts(run), tuple(against))


def _verdict(answer: Answer, reasons: list[str], facts: list[str], against: tuple[str, ...] = ()) -> Verdict:
    line = f"Verdict: {answer}: {', '.join(reasons)}. {'; '.join(facts)}."
    return Verdict(answer=answer, line=" ".join(line.split()), against=against)


def _praise(run: RunData) -> str:
    names = ["dense"] + ["dense int8"] * all(
        r.statement == "faster" for r in _ratios(run.bench, "dense_int8")
    )
    if not _ratios(run.bench, "dense_int8"):
        names = ["dense"]
    measured = run.compressed_metric is not None and run.dense_metric is not None
    quality = ", and not measurably worse in the task (within two standard errors)" if measured else ""
    return f"faster than {' and '.join(names)}, smaller on disk{quality}"


def _fatal(run: RunData) -> Iterable[str]:
    if run.parity.get("passed") is False:
        yield f"it does not compute the same as the pruned model ({_worst_difference(run)})"
    if run.bench.variants["compressed"].native_kernel is False:
        yield "its sparse linears did not run in the native kernel"
    ratios = _ratios(run.bench, run.bench.baseline)
    if not any(ratio.statement == "faster" for ratio in ratios):
        slower = any(ratio.statement == "slower" for ratio in ratios)
        yield "it is slower than dense" if slower else "no measurable difference in speed from dense"
    drop = _drop(run)
    if drop is not None and drop > LARGE_DROP:
        yield "the task metric falls too far below dense"
    if _int8_dominates(run):
        yield "dense int8 is faster, no larger and no less accurate"


def _against(run: RunData) -> Iterable[str]:
    slow = [s.label for s, r in _paired(run.bench, run.bench.baseline) if r.statement != "faster"]
    if 0 < len(slow) < len(run.bench.settings):
        yield f"not faster than dense at {_list(slow)}"
    size = _size_ratio(run.bench, "disk_bytes")
    if size is not None and size >= 1:
        yield "it is not smaller on disk"
    yield from _metric_doubt(run)
    slow = [s.label for s, r in _paired(run.bench, "dense_int8") if r.statement == "slower"]
    if slow and not _int8_dominates(run):
        yield f"slower than dense int8 at {_list(slow)}"


def _metric_doubt(run: RunData) -> Iterable[str]:
    ours, dense, drop = run.compressed_metric, run.dense_metric, _drop(run)
    if ours is None or dense is None or drop is None or drop > LARGE_DROP:
        return
    if drop > 0:
        yield "the task metric is lower than dense"
    elif dense.value - ours.value > NOTABLE_DROP:
        yield "too few examples to tell whether the lower task metric is chance"


def _list(labels: list[str]) -> str:
    return " and ".join(labels) if len(labels) <= _SHOWN_SETTINGS else f"{len(labels)} settings"


def _facts(run: RunData) -> list[str]:
    facts = [_sparsity_fact(run), _speed_fact(run), _int8_fact(run), _size_fact(run), _metric_fact(run)]
    return [fact for fact in facts if fact]


def _sparsity_fact(run: RunData) -> str:
    taught = ", trained with distillation" if run.stage("prune").get("distillation") else ""
    return f"{run.sparsity:.1%} sparse{taught}" if run.sparsity is not None else ""


def _speed_fact(run: RunData) -> str:
    speeds = _speeds(run.bench, run.bench.baseline)
    return f"{speeds} the speed of {_baseline_name(run)}" if speeds else ""


def _int8_fact(run: RunData) -> str:
    speeds = _speeds(run.bench, "dense_int8")
    if speeds:
        return f"{speeds} that of dense int8"
    missing = run.bench.variants.get("dense_int8")
    reason = missing.unavailable if missing else None
    return f"dense int8 was not measured ({reason})" if reason else "dense int8 was not measured"


def _size_fact(run: RunData) -> str:
    disk, encoder = (_size_ratio(run.bench, key) for key in ("disk_bytes", "encoder_bytes"))
    if disk is None or encoder is None:
        return ""
    versus = _size_ratio(run.bench, "disk_bytes", "dense_int8")
    int8 = f", {versus:.2f}x of dense int8's" if versus is not None else ""
    return f"{disk:.2f}x the size on disk (encoder {encoder:.2f}x{int8})"


def _metric_fact(run: RunData) -> str:
    ours, dense, int8 = run.compressed_metric, run.dense_metric, run.int8_metric
    if ours is None:
        return "accuracy was not measured"
    if dense is None:
        return f"{ours.name} {_percent(ours)}, no dense model to compare with"
    difference, error = ours.minus(dense)
    beside = f"; dense int8 {_percent(int8)}" if int8 is not None else ""
    margin = "" if error is None else f", standard error {100 * error:.1f}"
    points = f"{100 * difference:+.1f} points{margin}"
    return f"{ours.name} {_percent(ours)} against {_percent(dense)} dense ({points}){beside}"


def _percent(metric: Metric) -> str:
    return f"{metric.value:.1%}"


def _baseline_name(run: RunData) -> str:
    if not run.has_dense_model:
        return "the same weights in dense kernels"
    dense, ours = run.stage("dense").get("steps"), run.stage("prune").get("steps")
    if dense is None or ours is None:
        return "dense"
    if dense == ours:
        return f"dense trained with the same {dense} steps"
    return f"dense (trained with {dense} steps, pruned with {ours})"


def _speeds(bench: BenchReport, baseline: str) -> str:
    """`2.41x (2.35-2.47) at batch 1`, joined; beyond a few settings the first and the range of all."""
    paired = _paired(bench, baseline)
    spoken = [f"{_speed(ratio)} at {setting.label}" for setting, ratio in paired]
    if len(spoken) <= _SHOWN_SETTINGS:
        return " and ".join(spoken)
    medians = [ratio.median for _, ratio in paired]
    return f"{spoken[0]} ({min(medians):.2f}x to {max(medians):.2f}x over {len(paired)} settings)"


def _speed(ratio: PairedRatio) -> str:
    if ratio.low is None or ratio.high is None:
        return f"{ratio.median:.2f}x (too few pairs to decide)"
    word = ", no measurable difference" if ratio.statement == "undecided" else ""
    return f"{ratio.median:.2f}x ({ratio.low:.2f}-{ratio.high:.2f}{word})"


def _paired(bench: BenchReport, baseline: str) -> list[tuple[SettingReport, PairedRatio]]:
    pairs = ((setting, setting.ratio("compressed", baseline)) for setting in bench.settings)
    return [(setting, ratio) for setting, ratio in pairs if ratio is not None]


def _ratios(bench: BenchReport, baseline: str) -> list[PairedRatio]:
    return [ratio for _, ratio in _paired(bench, baseline)]


def _size_ratio(bench: BenchReport, key: str, baseline: str | None = None) -> float | None:
    ours, other = bench.variants.get("compressed"), bench.variants.get(baseline or bench.baseline)
    if ours is None or other is None or ours.size is None or other.size is None:
        return None
    below = getattr(other.size, key)
    return getattr(ours.size, key) / below if below else None


def _drop(run: RunData) -> float | None:
    """How far the metric lies below dense, where that is more than two standard errors; else 0."""
    ours, dense = run.compressed_metric, run.dense_metric
    return None if ours is None or dense is None else _certain_drop(ours, dense)


def _certain_drop(ours: Metric, other: Metric) -> float:
    difference, error = ours.minus(other)
    return -difference if -difference > 2 * (error or 0) else 0.0


def _int8_dominates(run: RunData) -> bool:
    """int8 is faster in every setting, not larger, and not certainly worse in the metric."""
    ratios = _ratios(run.bench, "dense_int8")
    size = _size_ratio(run.bench, "disk_bytes", "dense_int8")
    if not ratios or any(ratio.statement != "slower" for ratio in ratios) or size is None or size < 1:
        return False
    ours, int8 = run.compressed_metric, run.int8_metric
    return ours is None or int8 is None or _certain_drop(int8, ours) == 0


def _worst_difference(run: RunData) -> str:
    worst = max((row.get("max_abs", 0) for row in run.parity.get("rows", ())), default=None)
    atol = run.parity.get("atol")
    return (
        f"max difference {worst:.2g}, allowed {atol:.2g}" if worst is not None and atol else "parity failed"
    )
