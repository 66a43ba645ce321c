"""Which candidates no other one beats, and what to ship within a budget."""

from collections.abc import Callable, Sequence

from platon_compress.report.pareto.candidates import Candidate
from platon_compress.report.points import points_apart
from platon_compress.report.tables import format_bytes, format_milliseconds
from platon_compress.report.words import metric_figure, metric_name

__all__ = ["advice", "undominated"]


def undominated(candidates: Sequence[Candidate], cost: Callable[[Candidate], float]) -> list[Candidate]:
    """Those that are better than every one that costs as little or less, the cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (cost(c), -c.metric)):
        if not front or candidate.metric > front[-1].metric:
            front.append(candidate)
    return front


def advice(candidates: Sequence[Candidate], metric: str, task: str | None) -> list[str]:
    """A sentence for each budget of latency and of size: from this figure on, ship that file."""
    said = []
    for candidate in undominated(candidates, lambda c: c.seconds):
        budget = f"{format_milliseconds(candidate.seconds)} ms"
        said.append(f"Within {budget}: {_spoken(candidate, metric, task)}")
    for candidate in undominated(candidates, lambda c: c.disk_bytes):
        said.append(f"Within {format_bytes(candidate.disk_bytes)}: {_spoken(candidate, metric, task)}")
    return said


def _spoken(candidate: Candidate, metric: str, task: str | None) -> str:
    name = f"{metric_name(metric, task)} {metric_figure(metric, candidate.metric)}"
    change = "" if candidate.change is None else f", {points_apart(candidate.change)} against dense"
    return f"{candidate.file} ({candidate.label}), {name}{change}, {candidate.speed:.2f}x dense"
