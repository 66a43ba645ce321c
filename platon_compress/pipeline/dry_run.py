"""What a run would do, without doing it: steps, selected weights, schedule, memory, files."""

from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.reporter import Reporter
from platon_compress.recipe import Recipe
from platon_compress.tasks.data import class_names
from platon_compress.tasks.models import build_model, load_checkpoint
from platon_compress.tasks.tables import read_split
from platon_compress.tasks.training import prune_config, total_steps

__all__ = ["describe_run"]


def describe_run(recipe: Recipe, reporter: Reporter) -> dict[str, Any]:
    """Read the data and the model, and say what the run would prune and when. Writes nothing.

    Raises InputError for everything that would stop the run before its first step.
    """
    from platon_compress.pruning.preview import preview

    if recipe.data is None or recipe.prune is None:
        raise InputError("a dry run needs a recipe with data and prune")
    modality = "text" if recipe.model.task == "text-classification" else "image"
    rows = {
        split: read_split(recipe.data, split, modality, recipe.train.seed)
        for split in ("train", "validation")
    }
    labels = class_names(rows["train"])
    steps = total_steps(len(rows["train"]), recipe.train)
    shown = preview(_model(recipe, labels), prune_config(recipe.prune, steps))
    reporter.say(shown.to_text())
    reporter.say(
        f"{len(rows['train'])} training and {len(rows['validation'])} validation examples, {len(labels)} classes: "
        f"{steps} steps dense, then {steps} steps with pruning"
    )
    return {
        "train": len(rows["train"]),
        "validation": len(rows["validation"]),
        "classes": labels,
        "steps": steps,
        "pruning": shown.to_dict(),
    }


def _model(recipe: Recipe, labels: list[str]) -> Any:
    section = recipe.model
    if section.config is not None:
        return build_model(section.config, section.task, labels, recipe.train.seed).model
    return load_checkpoint(
        str(section.name),
        section.task,
        labels=labels,
        trust_remote_code=section.trust_remote_code,
        cache_dir=section.cache_dir,
    ).model
