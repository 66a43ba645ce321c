"""What a run would do, without doing it: steps, selected weights, schedule, memory, teacher."""

from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.teaching import check_teacher, spoken_distillation
from platon_compress.pipeline.workspace import fresh_checkpoint, labels_of, rows_of
from platon_compress.recipe import Recipe
from platon_compress.tasks.training import freeze_parameters, prune_config, total_steps

__all__ = ["describe_run"]


def describe_run(recipe: Recipe, reporter: Reporter) -> dict[str, Any]:
    """Read the data and the model, and say what the run would prune and when. Writes nothing.

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
    reporter.say(shown.to_text())
    reporter.say(f"{len(training)} training and {len(validation)} validation examples, {len(labels)} classes")
    reporter.say(f"{steps} steps dense, then {steps} steps with pruning")
    if recipe.distill is not None:
        reporter.say(spoken_distillation(recipe.distill))
        reporter.say(f"the teacher's weights take {teacher_bytes / 2**20:,.1f} MiB more")
    if recipe.prune.per_millisecond:
        reporter.say("weights are ranked by score per measured millisecond of their layer")
    return {
        "train": len(training),
        "validation": len(validation),
        "classes": labels,
        "steps": steps,
        "distill": None if recipe.distill is None else recipe.distill.model_dump(),
        "teacher_bytes": teacher_bytes,
        "pruning": shown.to_dict(),
    }
