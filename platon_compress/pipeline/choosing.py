"""The stages that choose: what a budget takes before the training, and which candidate is finished after it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from platon_compress.budget import TOLERANCE, Budget, Figures
from platon_compress.errors import MISFITS, CheckFailedError, InputError
from platon_compress.pipeline.candidates import time_candidates
from platon_compress.pipeline.costing import planned_inputs
from platon_compress.pipeline.family import Candidate, pick, points_below, read_candidates, read_scores
from platon_compress.pipeline.workspace import Workspace
from platon_compress.report.budget import measured_figures
from platon_compress.report.run_data import read_run
from platon_compress.report.words import metric_figure, metric_name
from platon_compress.schemas import stamped
from platon_compress.scoring import Scores

__all__ = ["choose_again", "choose_stage", "search_stage"]

_FAMILY = "family.json"
_MEASURED = "stages/measured.json"
_RUNS = 20
# A trained mask is uneven: its file is a little larger and slower than that of a random one.
_MARGIN = 0.03


def search_stage(work: Workspace) -> dict[str, Any]:
    """Write search.json. Raises CheckFailedError where no sparsity that is asked for can meet the budget."""
    from platon_compress.measure.search import Form, search

    checkpoint, section, family = work.fresh_checkpoint(), work.recipe.plan, work.recipe.family
    form = Form(work.prune.granularity, section.values)
    with work.reporter.progress("  searching") as progress:
        found = search(
            checkpoint.model,
            _budget(work) if family else _budget(work).tightened(_MARGIN),
            forms=(form,),
            batch=section.batch,
            threads=section.threads,
            example_inputs=planned_inputs(work, checkpoint),
            cost_table=None if section.cost_table is None else Path(section.cost_table),
            calibrate=section.calibrate,
            attention=section.attention,
            embeddings=section.embeddings,
            runs=_RUNS,
            progress=progress,
        )
    work.folder.write_json("search.json", found.to_dict())
    if not found.can_be_met:
        raise CheckFailedError(found.refusal())
    row = found.rows[0]
    if family and row.sparsity > family[-1]:
        raise CheckFailedError(
            f"the budget ({found.budget.spoken()}) takes {form} at {row.sparsity:.0%}, and the family ends at "
            f"{family[-1]:.0%}; raise the budget, or add sparser members"
        )
    if work.recipe.searches_sparsity:
        _check_prunes(work, row.sparsity)
    work.reporter.say(
        f"  {found.budget.spoken()}: {form} meets it from {row.sparsity:.0%} upwards ({row.figures.spoken()})"
    )
    if work.recipe.searches_sparsity and work.recipe.prune is not None:
        work.reporter.say(
            f"  training with sparsity {row.sparsity:g} (the recipe says {work.recipe.prune.sparsity:g})"
        )
    return {"sparsity": row.sparsity, "figures": row.figures.to_dict()}


def choose_stage(work: Workspace) -> dict[str, Any]:
    """Write family.json. Raises CheckFailedError where no member of a family meets the budget."""
    budget, dense = _budget(work), _scores(work)
    candidates = list(_candidates(work, dense))
    timed = bool(work.recipe.family) or work.recipe.searches
    figures = time_candidates(work, [c.sparsity for c in candidates]) if timed else {}
    before = _measured_before(work)
    candidates = [
        replace(c, expected=figures.get(c.sparsity), measured=before.get(c.sparsity)) for c in candidates
    ]
    chosen = pick(candidates, budget, work.prune.target_sparsity)
    rival = {**dense.summary(), "figures": figures[0.0].to_dict() if timed else None}
    content = {
        "task": work.task.name,
        "metric": dense.metric,
        "split": "validation",
        "examples": len(work.validation),
        "granularity": work.prune.granularity,
        "values": work.recipe.plan.values,
        "tokens": work.sequence_length(work.dense),
        "batch": work.recipe.plan.batch,
        "threads": work.recipe.plan.threads,
        "budget": asdict(budget),
        "dense": rival,
        "candidates": [candidate.to_dict() for candidate in candidates],
        "chosen": None if chosen is None else chosen.sparsity,
    }
    work.folder.write_json(_FAMILY, stamped("family", content))
    _show(work, dense, candidates, budget)
    if chosen is None and work.recipe.family:
        raise CheckFailedError(_refusal(candidates, budget))
    if chosen is None:  # there is no other: it is finished all the same, and the verdict says what it misses
        chosen = candidates[0]
        work.reporter.warn(_refusal(candidates, budget))
    work.reporter.say(f"  chosen: sparsity {chosen.sparsity:g}")
    return {**chosen.to_dict(), "metric": dense.metric, "examples": len(work.validation)}


def choose_again(work: Workspace) -> bool:
    """After the bench stage: whether its figures miss the budget and another candidate meets it; they are remembered."""
    figures, budget = measured_figures(read_run(work.folder.path)), _budget(work)
    if figures is None or not budget.misses(figures, tolerance=TOLERANCE):
        return False
    known = {**_measured_before(work), work.sparsity: figures}
    candidates = [
        replace(c, measured=known.get(c.sparsity, c.measured))
        for c in read_candidates(work.folder.path / _FAMILY)
    ]
    following = pick(candidates, budget, work.prune.target_sparsity)
    if following is None or following.sparsity < work.sparsity:  # a less sparse one would be slower still
        return False
    content = {f"{sparsity:g}": value.to_dict() for sparsity, value in known.items()}
    work.folder.write_json(_MEASURED, {"settings": _timing_settings(work), "figures": content})
    work.reporter.warn(
        f"sparsity {work.sparsity:g} measured {figures.spoken()}, which misses the budget ({budget.spoken()}); "
        "trying a sparser candidate"
    )
    return True


def _check_prunes(work: Workspace, sparsity: float) -> None:
    """Raise InputError, before anything is trained, where the other settings do not go with what the search found."""
    from platon_compress.pruning.pruner import check_fits
    from platon_compress.tasks.training import prune_config, total_steps

    section = work.prune.model_copy(update={"sparsity": sparsity})
    steps = total_steps(len(work.training), work.recipe.pruning_training)
    check_fits(work.fresh_checkpoint().model, prune_config(section, steps))


def _budget(work: Workspace) -> Budget:
    return Budget() if work.recipe.budget is None else work.recipe.budget.limits


def _scores(work: Workspace) -> Scores:
    """Of the dense baseline, on the validation rows."""
    from platon_compress.tasks.trainer import evaluate
    from platon_compress.tasks.training import BATCH

    with work.reporter.progress("  dense on the validation rows") as progress:
        return evaluate(work.dense.model, work.task.evaluation(work.validation, work.dense, BATCH), progress)


def _candidates(work: Workspace, dense: Scores) -> Iterator[Candidate]:
    """The least sparse one first; without a family the one that there is."""
    for sparsity in work.recipe.family or (work.prune.target_sparsity,):
        steps, scores = read_scores(work.candidate_folder(sparsity))
        yield Candidate(
            sparsity=sparsity,
            steps=steps,
            value=scores.value,
            standard_error=scores.standard_error,
            drop=points_below(dense, scores),
        )


def _measured_before(work: Workspace) -> dict[float, Figures]:
    """Figures of candidates whose files the bench stage has timed with these settings, by sparsity."""
    if not (work.folder.path / _MEASURED).is_file():
        return {}
    content = work.folder.read_json(_MEASURED)
    if content.get("settings") != _timing_settings(work):
        return {}
    try:
        return {float(name): Figures.from_dict(figures) for name, figures in content["figures"].items()}
    except MISFITS as error:
        raise InputError(
            f"{_MEASURED} in {work.folder.path} holds no figures ({error!r:.120}); remove it"
        ) from error


def _timing_settings(work: Workspace) -> dict[str, Any]:
    """Sections that change what a file measures, and the pruning that the file comes from."""
    recipe, prune = work.recipe, work.folder.record("prune")
    sections = {
        name: getattr(recipe, name).model_dump(mode="json") for name in ("bake", "plan", "export", "bench")
    }
    return {**sections, "prune": None if prune is None else prune.stamp}


def _show(work: Workspace, dense: Scores, candidates: Sequence[Candidate], budget: Budget) -> None:
    name = metric_name(dense.metric, work.task.name)
    rows = [
        (
            f"{c.sparsity:.0%}",
            metric_figure(dense.metric, c.value, 2),
            f"{c.drop.value:.2f} ({c.drop.low:.2f} to {c.drop.high:.2f})",
            "-" if (c.measured or c.expected) is None else (c.measured or c.expected).spoken(),  # type: ignore[union-attr]
            ", ".join(c.misses(budget)) or "yes",
        )
        for c in candidates
    ]
    title = (
        f"Candidates; dense has {name} {metric_figure(dense.metric, dense.value, 2)} on the validation rows"
    )
    share = "time removed" if work.prune.counts_time else "sparsity"
    work.reporter.table(title, (share, name, "points below dense", "file", "meets the budget"), rows)


def _refusal(candidates: Sequence[Candidate], budget: Budget) -> str:
    told = "; ".join(f"{c.sparsity:g}: {', '.join(c.misses(budget))}" for c in candidates)
    return f"no candidate meets the budget ({budget.spoken()}): {told}; raise it, or train others"
