"""Writes the page of several runs: pareto.md, pareto.html and pareto.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platon_compress.files import write_json, write_text
from platon_compress.report.pareto.candidates import Candidate, Setting, candidates_of, chosen_setting
from platon_compress.report.pareto.front import advice, undominated
from platon_compress.report.pareto.members import Member, members_of
from platon_compress.report.pareto.plot import pareto_plot
from platon_compress.report.pareto.rivals import rival_notes, rivals_of
from platon_compress.report.plot_style import Plot
from platon_compress.report.points import points_apart
from platon_compress.report.run_data import RunData, read_run
from platon_compress.report.tables import Table, format_bytes, format_milliseconds
from platon_compress.report.words import NONE, metric_figure, metric_name
from platon_compress.report.writing import render
from platon_compress.schemas import stamped

__all__ = ["write_pareto"]


@dataclass(frozen=True, kw_only=True)
class _Page:
    title: str
    setting: str
    advice: tuple[str, ...]
    table: Table
    members: Table | None
    others: tuple[str, ...]
    plot: Plot


def write_pareto(
    runs: Sequence[str | Path], output: Path, *, batch: int | None = None, tokens: int | None = None
) -> list[str]:
    """Compare the files of finished `runs` at the first size that all measured (of `batch`, `tokens` where given).

    Returns what to ship, a sentence a budget. Raises InputError for runs that cannot be compared.
    """
    read = [read_run(run) for run in runs]
    setting = chosen_setting(read, batch, tokens)
    rivals = rivals_of(read, setting)
    candidates = [*candidates_of(read, setting), *rivals]
    members = members_of(read, setting)
    metric, task = _metric_name(read), read[0].task
    said = advice(candidates, metric, task)
    page = _Page(
        title=f"{metric_name(metric, task)} against latency and size",
        setting=_spoken(setting),
        advice=tuple(said),
        table=_table(candidates, metric, task),
        members=_member_table(members, metric, task) if members else None,
        others=tuple(rival_notes(read, setting, rivals)),
        plot=pareto_plot(candidates, members, metric, task),
    )
    write_json(output / "pareto.json", _content(read, setting, candidates, members, said))
    write_text(output / "pareto.md", render("pareto.md.jinja", page))
    write_text(output / "pareto.html", render("pareto.html.jinja", page))
    return said


def _metric_name(runs: Sequence[RunData]) -> str:
    metric = runs[0].compressed_metric
    return metric.name if metric else "metric"


def _table(candidates: Sequence[Candidate], metric: str, task: str | None) -> Table:
    fast = undominated(candidates, lambda c: c.seconds)
    small = undominated(candidates, lambda c: c.disk_bytes)
    ordered = sorted(candidates, key=lambda c: c.seconds)
    rows = [
        (
            candidate.label,
            metric_figure(metric, candidate.metric),
            NONE if candidate.change is None else points_apart(candidate.change).removesuffix(" points"),
            format_milliseconds(candidate.seconds),
            f"{candidate.speed:.2f}x",
            format_bytes(candidate.disk_bytes),
            " and ".join(word for word, front in (("latency", fast), ("size", small)) if candidate in front),
        )
        for candidate in ordered
    ]
    return Table(
        caption="All files and rivals, fastest first",
        headers=(
            "file",
            metric_name(metric, task),
            "against dense, points",
            "ms",
            "speed",
            "disk",
            "Pareto-optimal in",
        ),
        rows=tuple(rows),
        text_columns=(0, 6),
        strong_rows=tuple(i for i, c in enumerate(ordered) if c in fast or c in small),
    )


def _member_table(members: Sequence[Member], metric: str, task: str | None) -> Table:
    rows = [
        (
            member.label,
            metric_figure(metric, member.metric),
            points_apart(member.change).removesuffix(" points"),
            NONE if member.seconds is None else format_milliseconds(member.seconds),
            NONE if member.speed is None else f"{member.speed:.2f}x",
            format_bytes(member.disk_bytes),
            member.timed or "never",
        )
        for member in members
    ]
    splits = " and ".join(sorted({member.split for member in members}))
    return Table(
        caption=f"Unfinished members, evaluated on the {splits} rows that were used to choose among them",
        headers=(
            "member",
            f"{metric_name(metric, task)}, selection split",
            "against dense on that split, points",
            "ms",
            "speed",
            "disk",
            "timed",
        ),
        rows=tuple(rows),
        text_columns=(0, 6),
    )


def _spoken(setting: Setting) -> str:
    return f"batch {setting[0]}" + (f", {setting[1]} tokens" if setting[1] else "")


def _content(
    runs: Sequence[RunData],
    setting: Setting,
    candidates: Sequence[Candidate],
    members: Sequence[Member],
    said: Sequence[str],
) -> dict[str, Any]:
    content = {
        "runs": [str(run.folder) for run in runs],
        "environment": dict(runs[0].bench.environment),
        "batch": setting[0],
        "tokens": setting[1],
        "metric": _metric_name(runs),
        "candidates": [candidate.to_dict() for candidate in candidates],
        "members": [member.to_dict() for member in members],
        "advice": list(said),
    }
    return stamped("pareto", content)
