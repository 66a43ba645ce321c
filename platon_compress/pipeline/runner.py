"""Runs the stages of a recipe on a folder, skipping what is done."""

import time
from pathlib import Path
from typing import Any

import yaml

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.stages import STAGES, Stage
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import Recipe, load_recipe, recipe_digest, trusting
from platon_compress.tasks.training import prune_config

__all__ = ["continue_run", "read_recipe_of", "run_recipe", "stage_names", "write_result"]

_MANY_STEPS = 1_000_000  # the real number is known only with the data; no interval is too long for this one


def run_recipe(
    recipe: Recipe, output: Path, reporter: Reporter, *, until: str | None = None
) -> dict[str, Any]:
    """Run every unfinished stage of `recipe` on the folder `output`, up to and with `until`.

    Returns the results of all finished stages by name. Raises what the stages raise; a stage that failed or
    was killed leaves nothing behind, and the next call starts with it.
    """
    if recipe.prune is not None:
        prune_config(recipe.prune, _MANY_STEPS)  # refuse impossible settings before anything is written
    folder = RunFolder.open(output, recipe.kind, recipe_digest(recipe))
    return _run(folder, recipe, reporter, until)


def continue_run(
    output: Path, stage: str, reporter: Reporter, *, trust_remote_code: bool = False
) -> dict[str, Any]:
    """Run `stage` (again) on an existing run folder; the stages behind it count as unfinished afterwards.

    Raises InputError when the folder holds no run, or an earlier stage has not finished.
    """
    recipe = trusting(read_recipe_of(output), trust_remote_code)
    folder = RunFolder.open(output, recipe.kind, recipe_digest(recipe))
    names = stage_names(recipe)
    if stage not in names:
        raise InputError(f"a {recipe.kind} has no stage {stage!r}; its stages: {', '.join(names)}")
    for earlier in names[: names.index(stage)]:
        folder.result(earlier)
    folder.forget(names[names.index(stage) :])
    return _run(folder, recipe, reporter, stage)


def read_recipe_of(output: Path) -> Recipe:
    """The recipe of an existing run folder. Raises InputError when there is none."""
    path = output / "recipe.yaml"
    if not path.is_file():
        raise InputError(f"{output} holds no run (no recipe.yaml); start one with `platon-compress run`")
    return load_recipe(path)


def write_result(output: Path, name: str, value: Any) -> Path:
    """Write one JSON file into an existing run folder. Raises InputError when there is no run."""
    recipe = read_recipe_of(output)
    folder = RunFolder.open(output, recipe.kind, recipe_digest(recipe))
    with folder.locked():
        return folder.write_json(name, value)


def stage_names(recipe: Recipe) -> tuple[str, ...]:
    """The names of a recipe's stages, in order."""
    return tuple(stage.name for stage in STAGES[recipe.kind])


def _run(folder: RunFolder, recipe: Recipe, reporter: Reporter, until: str | None) -> dict[str, Any]:
    stages = STAGES[recipe.kind]
    with folder.locked():
        text = yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
        folder.write_text("recipe.yaml", text)
        work = Workspace(folder, recipe, reporter)
        for number, stage in enumerate(stages, start=1):
            _run_stage(work, stage, number, len(stages))
            if stage.name == until:
                break
    return {name: folder.result(name) for name in stage_names(recipe) if folder.is_done(name)}


def _run_stage(work: Workspace, stage: Stage, number: int, total: int) -> None:
    if work.folder.is_done(stage.name):
        work.reporter.heading(number, total, f"{stage.title}: done before")
        return
    work.reporter.heading(number, total, stage.title)
    start = time.perf_counter()
    result = stage.run(work)
    work.folder.finish(stage.name, time.perf_counter() - start, result)
