"""What a run would do, without doing it: steps, selected weights, schedule, memory, teacher."""

from collections import Counter
from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.heartbeat import spoken_time
from platon_compress.pipeline.preflight import check_run, spoken_head
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.teaching import check_teacher, spoken_distillation
from platon_compress.pipeline.workspace import fresh_checkpoint, labels_of, rows_of
from platon_compress.recipe import Recipe
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import encode
from platon_compress.tasks.preflight import seconds_per_step
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
    training, validation = rows_of(recipe, "train"), rows_of(recipe, "validation")
    labels = labels_of(recipe, training, validation)
    steps = total_steps(len(training), recipe.train)
    student = fresh_checkpoint(recipe, labels)
    freeze_parameters(student, recipe.model.freeze)
    shown = preview(student.model, prune_config(recipe.prune, steps))
    teacher_bytes = check_teacher(recipe, labels, student)
    examples = [encode(rows, student, labels, recipe.data.max_length) for rows in (training, validation)]
    check_run(recipe, student, validation, examples)
    one = seconds_per_step(student, examples[0], recipe.train.batch_size)
    seconds = 2 * steps * recipe.train.gradient_accumulation_steps * one
    reporter.say(shown.to_text())
    reporter.say(f"{len(training)} training and {len(validation)} validation examples, {len(labels)} classes")
    _say_classes(labels, training, validation, reporter)
    reporter.say(
        f"{steps} steps dense, then {steps} steps with pruning: about {spoken_time(seconds)} on this machine "
        "(estimated from one batch; evaluations, export and measurement come on top)"
    )
    if student.drawn:
        reporter.say(spoken_head(student))
    if recipe.distill is not None:
        reporter.say(spoken_distillation(recipe.distill))
        reporter.say(f"the teacher's weights take {teacher_bytes / 2**20:,.1f} MiB more")
    if recipe.prune.per_millisecond:
        reporter.say("weights are ranked by score per measured millisecond of their layer")
    return {
        "train": len(training),
        "validation": len(validation),
        "classes": labels,
        "rows_per_class": {
            "train": _rows_per_class(training, labels),
            "validation": _rows_per_class(validation, labels),
        },
        "steps": steps,
        "training_seconds_estimate": round(seconds, 3),
        "distill": None if recipe.distill is None else recipe.distill.model_dump(),
        "teacher_bytes": teacher_bytes,
        "pruning": shown.to_dict(),
    }


def _rows_per_class(rows: Rows, labels: list[str]) -> dict[str, int]:
    counted = Counter(rows.labels)
    return {label: counted[label] for label in labels} if rows.labels else {}


def _say_classes(labels: list[str], training: Rows, validation: Rows, reporter: Reporter) -> None:
    """Every class with its rows, so that a wrong column or a rare class is seen; a long list is cut."""
    counted = [_rows_per_class(rows, labels) for rows in (training, validation)]
    for label in labels[:_MOST_CLASSES]:
        rows = " and ".join(f"{c[label]} {kind}" for c, kind in zip(counted, _SPLITS, strict=True) if c)
        reporter.say(f"  class {label!r}: {rows} rows")
    if len(labels) > _MOST_CLASSES:
        reporter.say(f"  and {len(labels) - _MOST_CLASSES} more classes")
