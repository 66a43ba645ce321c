"""The verdict: a sentence and three points that say whether compression paid off, and no when the answer is no.

Rules, in this order:

1. "not measured": nothing was timed (device not active); the file that was measured is gone; or the baseline has not
   learnt: the dense model (the given one where there is no dense) is not better than always answering the largest
   class by two standard errors. A small fast model of nothing is no result.
2. "no": parity failed; the sparse linears did not run in the native kernel; slower than dense in every setting; the
   metric certainly below dense, or below the file before its weights were rounded to 8 bits, and by more than LARGE_DROP;
   the recipe's budget missed; or dense int8 is faster everywhere, no larger and not certainly less accurate.
3. "undecided": what the answer hangs on was not measured or the interval does not tell: speed against dense or dense
   int8 in some setting, parity, the metric or dense's not measured, or so few examples that a drop of LARGE_DROP is possible
   or one of NOTABLE_DROP is seen.
4. "mixed": everything is decided, and something is against it: slower than dense or dense int8 in some setting; not
   really smaller on disk (above SMALLER); larger than dense int8; a metric certainly lower.
5. "yes": none of these.

"Certainly": the difference is more than two standard errors, paired where both models answered the same examples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from platon_compress.measure.bench_report import BenchReport, SettingReport
from platon_compress.measure.timing import PairedRatio, Statement
from platon_compress.report.budget import budget_misses, spoken_budget
from platon_compress.report.points import verdict_points
from platon_compress.report.rounding import rounding_failures
from platon_compress.report.run_data import RunData
from platon_compress.report.words import VARIANTS, metric_name

__all__ = ["LARGE_DROP", "NOTABLE_DROP", "SMALLER", "Answer", "Verdict", "judge"]

Answer = Literal["yes", "mixed", "no", "undecided", "not measured"]

LARGE_DROP = 0.05
"""A metric this far below dense is no longer the same model for most users, however fast it is."""

NOTABLE_DROP = 0.02
"""A drop of this size is named even when the examples are too few to tell it from chance."""

SMALLER = 0.9
"""Above this share of dense's bytes nobody notices the difference."""

_SHOWN_SETTINGS = 2


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`line` begins with "Verdict: " and is one line: the answer, the sentence, the points.

    points: texts of speed, size and quality, in the order of words.POINTS; against: what spoke against a yes; budget:
    whether the recipe's is met, empty without one.
    """

    answer: Answer
    sentence: str
    points: tuple[str, str, str]
    against: tuple[str, ...] = ()
    budget: str = ""

    @property
    def line(self) -> str:
        text = f"Verdict: {self.answer}: {self.sentence}. {'; '.join(self.points)}. {self.budget}"
        return " ".join(text.split())


@dataclass(frozen=True, kw_only=True)
class _Finding:
    """Something that speaks against a yes, and which answer it alone would give."""

    answer: Literal["no", "undecided", "mixed"]
    text: str


def judge(run: RunData) -> Verdict:
    """Apply the rules above. Never raises for missing stages; it says what was not measured."""
    return replace(_judged(run), budget=spoken_budget(run))


def _judged(run: RunData) -> Verdict:
    points = verdict_points(run)
    void = run.bench.unavailable or run.file_problem or run.not_learnt
    if void:
        return Verdict(answer="not measured", sentence=void, points=points, against=(void,))
    findings = list(_findings(run))
    for answer in ("no", "undecided", "mixed"):
        first = [finding.text for finding in findings if finding.answer == answer]
        if first:
            # The strongest reasons come first, the others stay visible behind them.
            texts = (*first, *(finding.text for finding in findings if finding.answer != answer))
            return Verdict(answer=answer, sentence=", ".join(texts), points=points, against=texts)
    return Verdict(answer="yes", sentence=_praise(run), points=points)


def _findings(run: RunData) -> Iterator[_Finding]:
    if run.parity.get("passed") is False:
        yield _Finding(answer="no", text=_difference(run))
    if run.parity.get("passed") is None:
        yield _Finding(answer="undecided", text="it was not checked against the pruned model")
    if run.bench.variants["compressed"].native_kernel is False:
        yield _Finding(answer="no", text="its sparse layers did not run in the native kernel")
    if missed := budget_misses(run):
        yield _Finding(answer="no", text=f"it misses the budget: {', '.join(missed)}")
    yield from _speed_findings(run)
    yield from _size_findings(run.bench)
    yield from _metric_findings(run)
    yield from _rounding_findings(run)


def _speed_findings(run: RunData) -> Iterator[_Finding]:
    bench = run.bench
    slower, undecided = (_labels(bench, bench.baseline, word) for word in ("slower", "undecided"))
    measured = len(_paired(bench, bench.baseline))
    if not measured:
        yield _Finding(answer="undecided", text="speed was not measured")
    elif len(slower) == measured:
        yield _Finding(answer="no", text="it is slower than dense")
    elif slower:
        yield _Finding(answer="mixed", text=f"slower than dense at {_list(slower)}")
    if undecided:
        where = "" if len(undecided) == measured else f" at {_list(undecided)}"
        yield _Finding(answer="undecided", text=f"whether it is faster than dense is undecided{where}")
    yield from _int8_speed_findings(run)


def _int8_speed_findings(run: RunData) -> Iterator[_Finding]:
    bench = run.bench
    slower, undecided = (_labels(bench, "dense_int8", word) for word in ("slower", "undecided"))
    measured = len(_paired(bench, "dense_int8"))
    ratio = _size_ratio(bench, "dense_int8")
    if measured and len(slower) == measured and ratio is not None and ratio >= 1:
        yield _dominated(run)
    elif slower:
        yield _Finding(answer="mixed", text=f"slower than dense int8 at {_list(slower)}")
    if undecided:
        where = "" if len(undecided) == measured else f" at {_list(undecided)}"
        yield _Finding(answer="undecided", text=f"whether it is faster than dense int8 is undecided{where}")


def _dominated(run: RunData) -> _Finding:
    """int8 is faster everywhere and no larger; what remains is its metric."""
    ours, int8 = run.compressed_metric, run.int8_metric
    if ours is None or int8 is None:
        return _Finding(answer="mixed", text="dense int8 is faster and no larger")
    if int8.minus(ours).high < 0:
        return _Finding(answer="mixed", text="dense int8 is faster and no larger, though less accurate")
    return _Finding(answer="no", text="dense int8 is faster, no larger and no less accurate")


def _size_findings(bench: BenchReport) -> Iterator[_Finding]:
    dense, int8 = (_size_ratio(bench, name) for name in (bench.baseline, "dense_int8"))
    if dense is not None and dense > SMALLER:
        how = "not" if dense >= 1 else "hardly"
        yield _Finding(answer="mixed", text=f"it is {how} smaller on disk ({dense:.2f}x)")
    if int8 is not None and int8 > 1:
        yield _Finding(answer="mixed", text=f"larger on disk than dense int8 ({int8:.2f}x)")


def _metric_findings(run: RunData) -> Iterator[_Finding]:
    ours, dense = run.compressed_metric, run.dense_metric
    if ours is None:
        yield _Finding(answer="undecided", text="the task metric was not measured")
        return
    name = metric_name(ours.name, run.task)
    if dense is None:
        yield _Finding(answer="undecided", text=f"there is no dense model to compare the {name} with")
        return
    change = ours.minus(dense)
    if change.high < 0:
        large = -change.value > LARGE_DROP
        how = "falls too far below" if large else "is lower than"
        yield _Finding(answer="no" if large else "mixed", text=f"the {name} {how} dense")
    elif change.low < -LARGE_DROP or change.value < -NOTABLE_DROP:
        text = f"too few examples to tell how far the {name} falls"
        yield _Finding(answer="undecided", text=text)


def _rounding_findings(run: RunData) -> Iterator[_Finding]:
    """What 8-bit values cost by themselves; a certain loss is one even where dense is not certainly better."""
    ours, float32 = run.compressed_metric, run.float32_metric
    if ours is None or float32 is None or (change := ours.minus(float32)).high >= 0:
        return
    large = -change.value > LARGE_DROP
    text = f"8-bit values lower the {metric_name(ours.name, run.task)}{' too far' if large else ''}"
    yield _Finding(answer="no" if large else "mixed", text=text)


def _praise(run: RunData) -> str:
    ahead = [name for name in (run.bench.baseline, "dense_int8") if _paired(run.bench, name)]
    names = " and ".join(dict.fromkeys(VARIANTS["dense"] if n == "pruned" else VARIANTS[n] for n in ahead))
    return f"faster than {names}, smaller on disk, and not measurably worse on the task"


def _labels(bench: BenchReport, baseline: str, statement: Statement) -> list[str]:
    return [setting.label for setting, ratio in _paired(bench, baseline) if ratio.statement == statement]


def _list(labels: list[str]) -> str:
    return " and ".join(labels) if len(labels) <= _SHOWN_SETTINGS else f"{len(labels)} settings"


def _paired(bench: BenchReport, baseline: str) -> list[tuple[SettingReport, PairedRatio]]:
    pairs = ((setting, setting.ratio("compressed", baseline)) for setting in bench.settings)
    return [(setting, ratio) for setting, ratio in pairs if ratio is not None]


def _size_ratio(bench: BenchReport, baseline: str) -> float | None:
    ours, other = bench.variants.get("compressed"), bench.variants.get(baseline)
    if ours is None or other is None or ours.size is None or other.size is None:
        return None
    return ours.size.disk_bytes / other.size.disk_bytes if other.size.disk_bytes else None


def _difference(run: RunData) -> str:
    """Why parity failed: a difference of the graphs before one of the 8-bit values."""
    worst, atol = run.worst_difference, run.parity.get("atol")
    beyond = f"max difference {worst:.2g}, allowed {atol:.2g}" if worst and atol else "parity failed"
    failure = None if worst and worst > (atol or 0) else next(rounding_failures(run.rounded), None)
    return failure or f"its outputs differ from those of the pruned model ({beyond})"
