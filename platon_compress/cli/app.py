"""The commands. Each reads its flags, calls one function of the package, and prints lines or `--json`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.measure import add_measuring_commands
from platon_compress.cli.options import AsJson, Output, Overrides, numbers, reporter
from platon_compress.errors import InputError
from platon_compress.recipe import Recipe, load_recipe, parse_recipe, shipped_recipe

__all__ = ["app"]

app = typer.Typer(
    name="platon-compress",
    help="Prune a Hugging Face encoder with PLATON, export it to ONNX, and measure what it gained.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

RecipePath = Annotated[Path, typer.Argument(help="A YAML recipe, or the name of a shipped one.")]
_DEMO_FOLDER = Path("runs/demo")


def _print_version(wanted: bool) -> None:
    if wanted:
        from platon_compress import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback on errors.")] = False,
) -> None:
    """Both flags are handled before a command runs: --version in its callback, --debug in main()."""
    del version, debug


@app.command()
def run(
    recipe: RecipePath,
    output: Output,
    set_: Overrides = None,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")
    ] = False,
) -> None:
    """Run all stages of RECIPE: train dense, prune, bake, plan, convert, export, verify, bench, report."""
    loaded = load_recipe(_recipe_path(recipe), tuple(set_ or ()))
    if dry_run:
        from platon_compress.pipeline.dry_run import describe_run

        described = describe_run(loaded, reporter(as_json))
        if as_json:
            typer.echo(json.dumps(described))
        return
    _finish(_run(loaded, output, as_json), output, as_json)


@app.command()
def demo(output: Output = _DEMO_FOLDER, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Run the main job on scikit-learn's handwritten digits and a small ViT; a few minutes on two cores."""
    loaded = load_recipe(shipped_recipe("digits"), tuple(set_ or ()))
    _finish(_run(loaded, output, as_json), output, as_json)


@app.command()
def compress(
    model: Annotated[str, typer.Argument(help="Model folder or hub id that already holds zeros.")],
    output: Output,
    task: Annotated[str | None, typer.Option("--task", help="Default: what the checkpoint names.")] = None,
    dense: Annotated[str | None, typer.Option("--dense", help="The unpruned model to compare with.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled validation file or image folder.")
    ] = None,
    text: Annotated[str, typer.Option("--text", help="Text column of --data.")] = "text",
    label: Annotated[str, typer.Option("--label", help="Label column of --data.")] = "label",
    tokens: Annotated[
        int | None,
        typer.Option("--sequence_length", "--tokens", help="Tokens per example to plan and time for."),
    ] = None,
    batch: Annotated[str, typer.Option("--batch_size", "--batch", help="Batch sizes to time: 1,8")] = "1,8",
    threads: Annotated[int | None, typer.Option("--threads", help="Threads; default: all cores.")] = None,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    atol: Annotated[float, typer.Option("--atol", help="Largest allowed difference of outputs.")] = 1e-4,
    runs: Annotated[int, typer.Option("--runs", help="Timed rounds per setting.")] = 50,
    force: Annotated[
        str | None, typer.Option("--force", help="dense, structured or csr for every layer.")
    ] = None,
    calibrate_now: Annotated[
        bool, typer.Option("--calibrate/--no-calibrate", help="Measure this model's layer shapes first.")
    ] = True,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code")] = False,
    cache_dir: Annotated[str | None, typer.Option("--cache_dir")] = None,
    as_json: AsJson = False,
) -> None:
    """Turn an already sparse checkpoint, made by any tool, into a measured ONNX model. No training."""
    from platon_compress.tasks.models import infer_task

    if data is not None and task not in (None, "text-classification", "image-classification"):
        raise InputError(f"--data is for classification, but --task is {task!r}; leave --data away")
    recipe: dict[str, Any] = {
        "kind": "compress",
        "model": {
            "name": model,
            "task": task or infer_task(model),
            "trust_remote_code": trust_remote_code,
            "cache_dir": cache_dir,
        },
        "dense": dense,
        "data": {"validation": data, "text": text, "label": label} if data else None,
        "plan": {
            "tokens": tokens,
            "threads": threads,
            "device": device,
            "force": force,
            "calibrate": calibrate_now,
        },
        "verify": {"atol": atol},
        "bench": {"batch": numbers(batch, "--batch"), "threads": threads, "device": device, "runs": runs},
    }
    _finish(_run(parse_recipe(recipe, source="compress"), output, as_json), output, as_json)


@app.command()
def prune(recipe: RecipePath, output: Output, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Train the dense baseline and the pruned model of RECIPE; the later stages wait for their commands."""
    results = _run(load_recipe(_recipe_path(recipe), tuple(set_ or ())), output, as_json, until="prune")
    _print_stage("prune", results, as_json)


@app.command()
def bake(output: Output, as_json: AsJson = False) -> None:
    """Bake the masks of a pruned run into the weights, under model/."""
    _stage("bake", output, as_json)


@app.command()
def plan(output: Output, as_json: AsJson = False) -> None:
    """Choose a form per layer, into plan.json."""
    _stage("plan", output, as_json)


@app.command()
def convert(output: Output, as_json: AsJson = False) -> None:
    """Convert the layers as planned and say what was removed."""
    _stage("convert", output, as_json)


@app.command()
def export(output: Output, as_json: AsJson = False) -> None:
    """Write onnx/dense.onnx, onnx/pruned.onnx and onnx/compressed.onnx."""
    _stage("export", output, as_json)


@app.command()
def verify(output: Output, as_json: AsJson = False) -> None:
    """Check parity and take the metric, into parity.json; exit 1 beyond the tolerance."""
    _stage("verify", output, as_json)


@app.command()
def report(output: Output, as_json: AsJson = False) -> None:
    """Write report.md and report.html from a run's JSON files."""
    results = _continue("report", output, as_json)
    _finish(results, output, as_json)


def _run(recipe: Recipe, output: Path, as_json: bool, until: str | None = None) -> dict[str, Any]:
    from platon_compress.pipeline.runner import run_recipe

    return run_recipe(recipe, output, reporter(as_json), until=until)


def _continue(stage: str, output: Path, as_json: bool) -> dict[str, Any]:
    from platon_compress.pipeline.runner import continue_run

    return continue_run(output, stage, reporter(as_json))


def _stage(stage: str, output: Path, as_json: bool) -> None:
    _print_stage(stage, _continue(stage, output, as_json), as_json)


def _print_stage(stage: str, results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({stage: results[stage]}))


def _finish(results: dict[str, Any], output: Path, as_json: bool) -> None:
    """The last lines of a whole run: where the report is, and the verdict."""
    verdict = results["report"]["verdict"]
    if as_json:
        typer.echo(json.dumps({"output": str(output), "verdict": verdict, "stages": results}))
        return
    typer.echo(
        f"Report: {output / 'report.html'} (also report.md); deploy {output / 'onnx' / 'compressed.onnx'}"
    )
    typer.echo(verdict)


def _recipe_path(name: Path) -> Path:
    """A path as given, or the shipped recipe of that name."""
    if name.exists() or name.suffix in (".yaml", ".yml") or len(name.parts) > 1:
        return name
    return shipped_recipe(str(name))


add_measuring_commands(app)
