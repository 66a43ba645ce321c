"""Who teaches which training of a run, and how that is said."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from platon_compress.errors import InputError
from platon_compress.recipe import Recipe
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.hub import resolve_name
from platon_compress.tasks.models import load_checkpoint
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    from platon_compress.tasks.distillation import Teacher

__all__ = ["check_teacher", "given_teacher", "learns_from_itself", "spoken_distillation", "teacher_of"]


def given_teacher(recipe: Recipe) -> Checkpoint | None:
    """The teacher that is not the run's own baseline; None without one.

    Raises InputError when it cannot be loaded, or lacks weights of a classifier (it was never fine-tuned).
    """
    if recipe.teacher is None:
        return None
    section = recipe.model
    try:
        return load_checkpoint(
            recipe.teacher,
            section.task,
            trust_remote_code=section.trust_remote_code,
            cache_dir=section.cache_dir,
        )
    except InputError as error:
        if recipe.distill is None or recipe.distill.teacher is None:  # the model itself
            raise
        raise InputError(f"distill.teacher: {error}") from error


def check_teacher(recipe: Recipe, task: Task, names: Sequence[str], student: Checkpoint) -> int:
    """Bytes of the teacher's weights, 0 without distillation; the own baseline is as large as the student.

    Raises InputError, before any training, where the recipe's teacher does not fit the student.
    """
    if recipe.distill is None:
        return 0
    from platon_compress.tasks.distillation import make_teacher

    given = given_teacher(recipe)
    if given is not None:
        make_teacher(given, str(recipe.teacher), recipe.distill, task, names, student)
    return sum(p.numel() * p.element_size() for p in (given or student).model.parameters())


def teacher_of(
    recipe: Recipe,
    stage: str,
    task: Task,
    student: Checkpoint,
    names: Sequence[str],
    baseline: Callable[[], Checkpoint],
) -> "Teacher | None":
    """The teacher of a training stage ("dense" or "prune"), or None; `baseline` opens the run's own.

    The baseline learns from the labels like any fine-tuned model; only where there are none it is taught too.
    """
    section = recipe.distill
    if section is None or (stage == "dense" and section.labels):
        return None
    from platon_compress.tasks.distillation import make_teacher

    given = given_teacher(recipe)
    checkpoint, name = (baseline(), "the dense baseline") if given is None else (given, str(recipe.teacher))
    return make_teacher(checkpoint, name, section, task, names, student)


def learns_from_itself(recipe: Recipe) -> bool:
    """Whether the dense baseline's only teacher is the model that it starts from, so that no step would change it."""
    if recipe.has_labels or recipe.model.name is None:
        return False
    return resolve_name(str(recipe.teacher)) == resolve_name(recipe.model.name)


def spoken_distillation(recipe: Recipe, task: Task) -> str:
    """One line for a person. Raises InputError without distillation."""
    section = recipe.distill
    if section is None:
        raise InputError("the recipe has no distill section; add one")
    teacher = recipe.teacher or "the dense baseline of this run"
    alike = ", all layers weighted equally" if section.relative else ""
    hidden = f", hidden states with weight {section.hidden:g}{alike}" if section.hidden else ""
    softened = f", temperature {section.temperature:g}" if task.softened else ""
    if section.labels:
        source = f"{section.share:.0%} of the loss"
    elif learns_from_itself(recipe):
        source = "no labels: all of the loss; the baseline cannot learn from itself and is used as it is"
    else:
        source = "no labels: all of the loss, also for the baseline"
    return f"distillation from {teacher}: {source}{softened}{hidden}"
