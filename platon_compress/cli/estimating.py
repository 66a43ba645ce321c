"""`estimate`: what pruning could gain, and which sparsity a budget takes. Nothing is trained."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from platon_compress.budget import Budget, Figures, parse_bytes, parse_seconds, spoken_bytes, spoken_seconds
from platon_compress.cli.flags import (
    AsJson,
    MaxLatency,
    MaxSize,
    MinSpeedup,
    Runs,
    Task,
    Threads,
    Trust,
    choice,
    ranged,
)
from platon_compress.cli.options import check_rows, reporter, shares
from platon_compress.errors import CheckFailedError, InputError
from platon_compress.limits import LIMITS
from platon_compress.pipeline.output import say

if TYPE_CHECKING:
    from platon_compress.measure.estimate import Estimate, EstimateRow
    from platon_compress.measure.search import Search
    from platon_compress.pipeline.reporter import Reporter
    from platon_compress.tasks.checkpoint import Checkpoint

__all__ = ["estimate"]


def estimate(
    model: Annotated[str, typer.Argument(help="Model folder, hub id or package:NAME.")],
    sparsity: Annotated[
        str | None, typer.Option("--sparsity", help="Sparsities to try; default: 0.8,0.9.")
    ] = None,
    max_latency: MaxLatency = None,
    min_speedup: MinSpeedup = None,
    max_size: MaxSize = None,
    task: Task = None,
    tokens: Annotated[
        int,
        ranged("plan.tokens", "Tokens per text.", "--sequence_length", "--tokens"),
    ] = 128,
    batch: Annotated[
        int,
        ranged("plan.batch", "Examples per batch.", "--batch_size", "--batch"),
    ] = 1,
    threads: Threads = None,
    values: Annotated[
        str | None,
        choice(
            "plan.values",
            "Sparse weights as float32, int8 or auto; default: float32, with a budget every form.",
            "--values",
        ),
    ] = None,
    runs: Runs = 20,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Estimate the most pruning could gain: random masks, real export, paired timing. No training; about a minute.

    With a budget: the smallest sparsity of each form that meets it; exit 1 if none does.
    """
    budget = _budget(max_latency, min_speedup, max_size)
    if budget is not None and sparsity is not None:
        raise InputError("--sparsity and a budget are both given; leave --sparsity out, the search finds it")
    wanted = shares(sparsity or "0.8,0.9", "--sparsity", LIMITS["prune.sparsity"])
    check_rows(batch, tokens)
    setting = {"tokens": tokens, "batch": batch, "threads": threads, "runs": runs}
    talk = reporter(as_json)
    checkpoint = _measurable(model, task, tokens, trust_remote_code)
    if budget is None:
        result = _estimate(checkpoint, wanted, values or "float32", setting, talk)
        _show(result.to_dict(), as_json, lambda: _estimate_table(model, result, talk))
        return
    found = _search(checkpoint, budget, values, setting, talk)
    _show(found.to_dict(), as_json, lambda: _search_table(model, found, talk))
    if not found.can_be_met:
        raise CheckFailedError(found.refusal())


def _measurable(model: str, task: str | None, tokens: int, trust_remote_code: bool) -> "Checkpoint":
    from platon_compress.tasks.models import infer_task, load_checkpoint
    from platon_compress.tasks.preflight import check_inputs, check_lengths

    checkpoint = load_checkpoint(
        model,
        task or infer_task(model, trust_remote_code=trust_remote_code),
        trust_remote_code=trust_remote_code,
    )
    check_inputs(checkpoint)
    check_lengths(checkpoint, {"--tokens": None if checkpoint.modality == "image" else (tokens,)})
    return checkpoint


def _estimate(
    checkpoint: "Checkpoint",
    wanted: tuple[float, ...],
    values: str,
    setting: dict[str, Any],
    talk: "Reporter",
) -> "Estimate":
    from platon_compress.measure import estimate as room

    with talk.progress("estimating") as progress:
        return room.estimate(checkpoint.model, wanted, values=values, progress=progress, **setting)


def _search(
    checkpoint: "Checkpoint", budget: Budget, values: str | None, setting: dict[str, Any], talk: "Reporter"
) -> "Search":
    from platon_compress.measure import search as room

    forms = tuple(room.Form(f.granularity, f.values) for f in room.FORMS if values in (None, f.values))
    if values == "auto":
        forms = (room.Form("element", values), room.Form("4x1", values))
    with talk.progress("searching") as progress:
        return room.search(checkpoint.model, budget, forms=forms, progress=progress, **setting)


def _show(content: dict[str, Any], as_json: bool, table: Callable[[], None]) -> None:
    if as_json:
        say(json.dumps(content))
    else:
        table()


def _estimate_table(model: str, result: "Estimate", talk: "Reporter") -> None:
    columns = ("variant", "size", "p50", "vs dense", "forms")
    talk.table(_title(model, result), columns, [_estimate_line(row) for row in result.rows])
    for line in (*result.notes, result.label):
        talk.say(line)


def _search_table(model: str, result: "Search", talk: "Reporter") -> None:
    from platon_compress.measure.estimate import UPPER_BOUND

    columns = ("form", "sparsity", "latency", "vs dense", "size", "meets the budget")
    talk.table(_title(model, result), columns, _search_lines(result))
    for line in (*result.notes, UPPER_BOUND):
        talk.say(line)


def _title(model: str, result: "Estimate | Search") -> str:
    return f"{model}: {result.tokens} tokens, batch {result.batch}, {result.threads} threads"


def _search_lines(result: "Search") -> list[tuple[str, ...]]:
    rivals = [("dense", result.dense), ("dense int8", result.dense_int8)]
    lines = [
        (name, "-", *_cells(figures), ", ".join(result.budget.misses(figures)) or "yes")
        for name, figures in rivals
        if figures is not None
    ]
    return [
        *lines,
        *(
            (str(r.form), f"{r.sparsity:.0%}", *_cells(r.figures), ", ".join(r.misses) or "yes")
            for r in result.rows
        ),
    ]


def _cells(figures: Figures) -> tuple[str, str, str]:
    return (
        spoken_seconds(figures.latency_seconds),
        f"{figures.speedup:.2f}x",
        spoken_bytes(figures.size_bytes),
    )


def _budget(max_latency: str | None, min_speedup: float | None, max_size: str | None) -> Budget | None:
    """Of the flags; None where none is given."""
    budget = Budget(
        max_latency_seconds=None if max_latency is None else parse_seconds(max_latency, "--max-latency"),
        min_speedup=min_speedup,
        max_size_bytes=None if max_size is None else parse_bytes(max_size, "--max-size"),
    )
    return budget if budget.asks_for_speed_or_size else None


def _estimate_line(row: "EstimateRow") -> tuple[str, ...]:
    return (
        row.name,
        f"{row.size_bytes / 1e6:.1f} MB",
        f"{row.p50_seconds * 1e3:.2f} ms",
        "-" if row.speedup is None else f"{row.speedup.median:.2f}x",
        ", ".join(f"{count} {form}" for form, count in row.forms.items()),
    )
