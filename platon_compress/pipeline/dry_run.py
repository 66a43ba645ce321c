"""What a run would do, without doing it: steps, selected weights, schedule, memory, teacher."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from platon_compress.errors import InputError
from platon_compress.measure.environment import spoken_load
from platon_compress.pipeline.baseline import baseline_steps
from platon_compress.pipeline.heartbeat import spoken_time
from platon_compress.pipeline.held import check_held, held_of
from platon_compress.pipeline.preflight import check_run, spoken_model, spoken_padding, spoken_precision
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.teaching import check_teacher, spoken_distillation
from platon_compress.pipeline.words import spoken_classes
from platon_compress.pipeline.workspace import fresh_checkpoint, names_of, recipe_task
from platon_compress.recipe import PlanSection, PruneSection, Recipe
from platon_compress.report.words import metric_name
from platon_compress.tasks.dropout import set_dropout
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.preflight import seconds_per_step
from platon_compress.tasks.task import Task
from platon_compress.tasks.training import freeze_parameters, prune_config, total_steps

__all__ = ["describe_run"]

_SPLITS = ("training", "validation")
_MOST_CLASSES = 20


def describe_run(recipe: Recipe, reporter: Reporter) -> dict[str, Any]:
    """Read and encode the data, run the model once, and say what the run would prune and when. Writes nothing.

    Raises InputError for everything that would stop the run before its first step.
    """
    from platon_compress.pruning.preview import preview

    if recipe.data is None or recipe.prune is None:
        raise InputError(
            "a dry run shows a training, which needs the sections data and prune; add them to the recipe"
        )
    task = recipe_task(recipe)
    training = task.read("train", recipe.train.seed, labelled=recipe.has_labels)
    judged = [task.read(split, recipe.train.seed) for split in recipe.data.judged_splits]
    names = names_of(recipe, task, training, judged[0])
    student = fresh_checkpoint(recipe, task, names)
    examples = [task.encode(rows, student, names) for rows in (training, *judged)]
    dense_steps = baseline_steps(recipe, len(examples[0]))
    pruned_steps = total_steps(len(examples[0]), recipe.pruning_training)
    freeze_parameters(student, recipe.model.freeze)
    held = held_of(recipe)
    masks = None if held is None else check_held(recipe, held, student, task.head(names))
    pruning = prune_config(recipe.prune, pruned_steps, masks=masks)
    pruned_steps = pruning.total_steps or pruned_steps
    shown = preview(student.model, pruning)
    teacher_bytes = check_teacher(recipe, task, names, student)
    check_run(recipe, task, student, judged, examples)
    set_dropout(student.model, recipe.train.dropout)
    one = seconds_per_step(task, student, examples[0], recipe.train.batch_size)
    seconds = (pruned_steps + dense_steps) * recipe.train.gradient_accumulation_steps * one
    counts = [task.counted(rows, names) for rows in (training, judged[0])]
    lines = (
        shown.to_text(),
        _spoken_examples(examples, names, task),
        *_spoken_counts(names, counts),
        _spoken_steps(dense_steps, pruned_steps, seconds),
        *([] if held is None else [held.spoken()]),
        *spoken_model(student),
        *spoken_precision(recipe),
        *spoken_padding(recipe, examples[0]),
        *_spoken_settings(recipe, task, teacher_bytes),
    )
    for line in lines:
        reporter.say(line)
    return {
        "train": len(examples[0]),
        "validation": len(examples[1]),
        "metric": task.metric,
        "classes": names,
        "rows_per_class": dict(zip(("train", "validation"), counts, strict=True)),
        "steps": dense_steps,
        "pruning_steps": pruned_steps,
        "training_seconds_estimate": round(seconds, 3),
        "distill": None if recipe.distill is None else recipe.distill.model_dump(),
        "teacher_bytes": teacher_bytes,
        **recipe.plan.model_dump(include={"values", "attention", "embeddings"}),
        "pruning": shown.to_dict(),
    }


def _spoken_examples(examples: Sequence[Examples], names: Sequence[str], task: Task) -> str:
    return (
        f"{len(examples[0])} training and {len(examples[1])} validation examples, {spoken_classes(names)}"
        f"judged by {metric_name(task.metric, task.name)}"
    )


def _spoken_steps(dense: int, pruned: int, seconds: float) -> str:
    first = f"{dense} dense steps, then " if dense else ""
    load = spoken_load()
    busy = f" while busy, {load}" if load else ""
    return (
        f"{first}{pruned} pruning steps: about {spoken_time(seconds)} on this machine "
        f"(estimated from one batch{busy}; plus evaluation, export and measurement)"
    )


def _spoken_settings(recipe: Recipe, task: Task, teacher_bytes: int) -> Iterator[str]:
    """What the recipe asks for beyond plain pruning."""
    if recipe.distill is not None:
        yield spoken_distillation(recipe, task)
        yield f"the teacher's weights take another {teacher_bytes / 2**20:,.1f} MiB"
    if recipe.train.average:
        yield f"weights are averaged over the last {recipe.train.average:.0%} of the steps, while the mask is fixed"
    if recipe.prune is not None:
        yield from _spoken_pruning(recipe.prune)
    if recipe.budget is not None:
        yield f"the model is chosen to meet a budget: {recipe.budget.limits.spoken()}"
    yield from _spoken_values(recipe.plan)


def _spoken_pruning(prune: PruneSection) -> Iterator[str]:
    if prune.family:
        members = ", ".join(f"{sparsity:.0%}" for sparsity in prune.family)
        share = "share of time removed" if prune.counts_time else "sparsity"
        yield f"the {share} holds at {members}, with a finished candidate at each"
    if prune.start_sparsity:
        yield f"the sparsity starts at {prune.start_sparsity:.0%} right after the warm-up"
    for entry, (least, greatest) in (prune.bounds or {}).items():
        yield f"weights of {entry!r} end with {least:.0%} to {greatest:.0%} zeros"
    if prune.per_millisecond:
        yield "weights are ranked by score per measured millisecond of their layer"
    if prune.counts_time:
        yield (
            f"heads, neurons and layers are removed until the model is {1 / (1 - prune.target_sparsity):.3g} times as fast "
            "as dense, based on half blocks timed before training; the schedule above counts time"
        )


def _spoken_values(plan: PlanSection) -> Iterator[str]:
    if plan.values != "float32":
        where = "where that measures faster" if plan.values == "auto" else "in the exported file"
        yield f"sparse weights become 8-bit numbers {where}; what that changes is verified against float32"
        if plan.attention == "int8":
            yield "attention between them also multiplies 8-bit numbers"
    if plan.embeddings == "int8" or (plan.embeddings == "auto" and plan.values == "int8"):
        yield "word embeddings become 8-bit rows in the exported file"


def _spoken_counts(names: Sequence[str], counts: Sequence[Mapping[str, int]]) -> Iterator[str]:
    """Every class with its rows, so that a wrong column or a rare class is seen; a long list is cut."""
    for name in names[:_MOST_CLASSES]:
        rows = " and ".join(f"{c[name]} {kind}" for c, kind in zip(counts, _SPLITS, strict=True) if c)
        yield f"  class {name!r}: {rows} rows"
    if len(names) > _MOST_CLASSES:
        yield f"  and {len(names) - _MOST_CLASSES} more classes"
