"""Which stages of a folder still stand for a recipe: finished, with the same settings, from the same inputs."""

from collections.abc import Mapping, Sequence

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.stage import Stage, differences
from platon_compress.recipe import Recipe

__all__ = ["refuse_other_settings", "why_not_current"]


def why_not_current(stages: Sequence[Stage], folder: RunFolder, recipe: Recipe) -> Mapping[str, str]:
    """By the name of every stage that has to run (again): why."""
    reasons: dict[str, str] = {}
    for stage in stages:
        reason = _why_not(stage, folder, recipe, reasons)
        if reason is not None:
            reasons[stage.name] = reason
    return reasons


def refuse_other_settings(stages: Sequence[Stage], folder: RunFolder, recipe: Recipe) -> None:
    """Raises InputError where the recipe would throw away what took long, naming the keys that differ."""
    for stage in stages:
        record = folder.record(stage.name)
        if stage.keeps and record and (told := differences(record.settings, stage.settings(recipe))):
            raise InputError(
                f"{folder.path} holds a run with other settings: {told}; give another --output, or set what it was"
            )


def _why_not(stage: Stage, folder: RunFolder, recipe: Recipe, reasons: Mapping[str, str]) -> str | None:
    record = folder.record(stage.name)
    if record is None:
        return "it has not finished"
    if told := differences(record.settings, stage.settings(recipe)):
        return told
    for need in stage.needs:
        source = folder.record(need)
        if need in reasons or source is None:
            return f"{need} is not up to date"
        if record.inputs.get(need) != source.stamp:
            return f"{need} has been run again since"
    return None
