"""What the commands that run stages share: the recipe that they name, the run, and its last lines."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.options import reporter
from platon_compress.cli.require import Requirement, check_requirements
from platon_compress.pipeline.output import say
from platon_compress.recipe import Recipe, load_recipe, shipped_recipe, trusting
from platon_compress.recipe.paths import check_paths

__all__ = ["RecipePath", "finish", "open_recipe", "run_stages"]

RecipePath = Annotated[Path, typer.Argument(help="A YAML recipe, or the name of a shipped one.")]


def open_recipe(
    name: Path,
    overrides: Sequence[str] | None,
    *,
    data: Mapping[str, str] | None = None,
    preset: str | None = None,
    trust_remote_code: bool = False,
) -> Recipe:
    """The recipe at a path as given, or the shipped one of that name. Raises InputError for what cannot be."""
    shipped = name.suffix not in (".yaml", ".yml") and len(name.parts) == 1 and not name.is_file()
    path = shipped_recipe(str(name)) if shipped else name
    loaded = load_recipe(path, tuple(overrides or ()), data=data, preset=preset)
    recipe = trusting(loaded, trust_remote_code)
    check_paths(recipe)
    return recipe


def run_stages(recipe: Recipe, output: Path, as_json: bool, until: str | None = None) -> dict[str, Any]:
    """All stages that are not done, up to and with `until`; results by stage."""
    from platon_compress.pipeline.runner import run_recipe

    return run_recipe(recipe, output, reporter(as_json), until=until)


def finish(
    results: dict[str, Any], output: Path, as_json: bool, wanted: tuple[Requirement, ...] = ()
) -> None:
    """The last lines of a whole run: where the report is, and the verdict; then what was required of it."""
    verdict = results["report"]["verdict"]
    if as_json:
        say(json.dumps({"output": str(output), "verdict": verdict, "stages": results}))
    else:
        report = output / "report.html"
        say(f"Report: {report} (also report.md); deploy {output / 'onnx' / 'compressed.onnx'}\n{verdict}")
    check_requirements(wanted, output)
