"""Commands of single stages, on the folder of a run: `prune`, which begins one, and those that go on with it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.flags import AsJson, Output, Overrides, Require, Trust
from platon_compress.cli.options import reporter
from platon_compress.cli.require import parse_requirements
from platon_compress.cli.running import RecipePath, finish, open_recipe, run_stages
from platon_compress.cli.strict import StrictCommand
from platon_compress.errors import InputError
from platon_compress.pipeline.output import say

__all__ = ["add_stage_commands"]

_STAGES = {
    "bake": "Bake the masks of a pruned run into the weights, under model/.",
    "plan": "Choose a form for each layer; writes plan.json.",
    "convert": "Convert the layers as planned and report what was removed.",
    "export": "Write onnx/dense.onnx, onnx/pruned.onnx and onnx/compressed.onnx; "
    "with 8-bit values, also its float32 form.",
    "verify": "Check parity and measure the metric; writes parity.json, exit 1 beyond the tolerance.",
}


def add_stage_commands(app: typer.Typer) -> None:
    """Hang `prune`, `bake`, `plan`, `convert`, `export`, `verify` and `report` into the command line."""
    app.command(cls=StrictCommand)(prune)
    for stage, text in _STAGES.items():
        app.command(stage, cls=StrictCommand, help=text)(_command(stage))
    app.command(cls=StrictCommand)(report)


def prune(
    recipe: RecipePath,
    output: Output,
    set_: Overrides = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Train the dense baseline and the pruned model of RECIPE; later stages have their own commands."""
    loaded = open_recipe(recipe, set_, trust_remote_code=trust_remote_code)
    _print_stage("prune", run_stages(loaded, output, as_json, until="prune"), as_json)


def _command(stage: str) -> Callable[..., None]:
    def command(output: Output, trust_remote_code: Trust = False, as_json: AsJson = False) -> None:
        _print_stage(stage, _continue(stage, output, trust_remote_code, as_json), as_json)

    return command


def report(
    output: Output,
    runs: Annotated[
        list[Path] | None, typer.Argument(help="With --pareto: folders of finished runs.")
    ] = None,
    pareto: Annotated[
        bool,
        typer.Option("--pareto", help="Compare the files of several runs and find the Pareto-optimal ones."),
    ] = False,
    batch: Annotated[
        int | None, typer.Option("--batch", help="With --pareto: batch size to compare at.")
    ] = None,
    tokens: Annotated[
        int | None, typer.Option("--tokens", help="With --pareto: tokens to compare at.")
    ] = None,
    require: Require = None,
    as_json: AsJson = False,
) -> None:
    """Write report.md and report.html from a run's JSON files, or with --pareto a page comparing several runs."""
    wanted = parse_requirements(require)
    if pareto:
        _compare_runs(runs or [], output, batch, tokens, as_json)
        return
    if runs or batch or tokens:
        raise InputError(
            "report -o RUN takes no other folder or size; several runs are compared with --pareto"
        )
    finish(_continue("report", output, False, as_json), output, as_json, wanted)


def _compare_runs(
    runs: list[Path], output: Path, batch: int | None, tokens: int | None, as_json: bool
) -> None:
    if not runs:
        raise InputError(
            "--pareto compares finished runs; give their folders: report runs/a runs/b --pareto -o page"
        )
    from platon_compress.report.pareto.page import write_pareto

    said = write_pareto(runs, output, batch=batch, tokens=tokens)
    if as_json:
        say((output / "pareto.json").read_text(encoding="utf-8"))
    else:
        say("\n".join([*said, f"{output / 'pareto.html'} {output / 'pareto.md'}"]))


def _continue(stage: str, output: Path, trust_remote_code: bool, as_json: bool) -> dict[str, Any]:
    from platon_compress.pipeline.runner import continue_run

    return continue_run(output, stage, reporter(as_json), trust_remote_code=trust_remote_code)


def _print_stage(stage: str, results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps({stage: results[stage]}))
