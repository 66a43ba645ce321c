"""The commands. Each reads its flags, calls one function of the package, and prints lines or `--json`."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from platon_compress.cli.flags import (
    AsJson,
    Atol,
    Attention,
    Batches,
    CacheFolder,
    Calibrate,
    Calibration,
    Device,
    Embeddings,
    Exporter,
    Force,
    GroupColumn,
    Int8Budget,
    LabelColumn,
    MaxDrop,
    MaxLatency,
    MaxSize,
    Method,
    MinSpeedup,
    NegativeColumn,
    Opset,
    Output,
    Overrides,
    PairColumn,
    Preset,
    RemovePadding,
    Require,
    Runs,
    Sensitivity,
    Sparsity,
    Task,
    TextColumn,
    Threads,
    Tokens,
    Trust,
    Values,
)
from platon_compress.cli.measure import add_measuring_commands
from platon_compress.cli.options import numbers, reporter
from platon_compress.cli.require import check_budget, parse_requirements
from platon_compress.cli.running import RecipePath, finish, open_recipe, run_stages
from platon_compress.cli.stages import add_stage_commands
from platon_compress.cli.start import add_starting_commands
from platon_compress.cli.strict import StrictCommand
from platon_compress.errors import InputError, shown
from platon_compress.limits import LIMITS
from platon_compress.pipeline.output import say
from platon_compress.recipe import TRAINABLE_TASKS, Recipe, parse_recipe, shipped_recipe, trusting
from platon_compress.recipe.paths import check_paths

__all__ = ["app"]

app = typer.Typer(
    name="platon-compress",
    help="Prune a Hugging Face encoder with PLATON, export it to ONNX, and measure the gain.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_DEMO_FOLDER = Path("runs/demo")


def _print_version(wanted: bool) -> None:
    if wanted:
        from platon_compress import __version__

        say(__version__)
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


@app.command(cls=StrictCommand)
def run(
    recipe: RecipePath,
    output: Output,
    train: Annotated[
        str | None, typer.Option("--train", help="Training rows, replacing the recipe's data.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="Validation rows, like --train.")
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", help="Test rows, like --train; never used to choose anything.")
    ] = None,
    text: TextColumn = None,
    text_pair: PairColumn = None,
    label: LabelColumn = None,
    negative: NegativeColumn = None,
    group: GroupColumn = None,
    max_latency: MaxLatency = None,
    min_speedup: MinSpeedup = None,
    max_size: MaxSize = None,
    max_drop: MaxDrop = None,
    preset: Preset = None,
    set_: Overrides = None,
    require: Require = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")
    ] = False,
) -> None:
    """Run all stages of RECIPE: train dense, prune, bake, plan, convert, export, verify, bench, report."""
    wanted = parse_requirements(require)
    given = _given(
        train=train,
        validation=validation,
        test=test,
        text=text,
        text_pair=text_pair,
        label=label,
        negative=negative,
        group=group,
    )
    budget = _given(max_latency=max_latency, min_speedup=min_speedup, max_size=max_size, max_drop=max_drop)
    asked = tuple(f"budget.{key}={value}" for key, value in budget.items())
    loaded = open_recipe(
        recipe, (*(set_ or ()), *asked), data=given, preset=preset, trust_remote_code=trust_remote_code
    )
    if dry_run:
        from platon_compress.pipeline.dry_run import describe_run

        described = describe_run(loaded, reporter(as_json))
        if as_json:
            say(json.dumps(described))
        return
    finish(run_stages(loaded, output, as_json), output, as_json, wanted)
    if loaded.budget is not None:
        check_budget(output)


@app.command(cls=StrictCommand)
def demo(output: Output = _DEMO_FOLDER, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Run the full pipeline on scikit-learn's handwritten digits with a small ViT; a few minutes on two cores."""
    finish(run_stages(open_recipe(shipped_recipe("digits"), set_), output, as_json), output, as_json)


@app.command(cls=StrictCommand)
def compress(
    model: Annotated[str, typer.Argument(help="Model folder or hub id; sparse, unless --sparsity is given.")],
    output: Output,
    task: Task = None,
    dense: Annotated[str | None, typer.Option("--dense", help="The unpruned model to compare with.")] = None,
    data: Annotated[
        str | None, typer.Option("--data", help="Labelled validation rows: a file, or a folder of images.")
    ] = None,
    text: TextColumn = None,
    text_pair: PairColumn = None,
    label: LabelColumn = None,
    negative: NegativeColumn = None,
    group: GroupColumn = None,
    sparsity: Sparsity = None,
    calibration: Calibration = None,
    method: Method = None,
    tokens: Tokens = None,
    batch: Batches = "1,8",
    threads: Threads = None,
    device: Device = "cpu",
    atol: Atol = 1e-4,
    sensitivity: Sensitivity = False,
    runs: Runs = 50,
    force: Force = None,
    values: Values = "float32",
    attention: Attention = "auto",
    embeddings: Embeddings = "auto",
    int8_budget: Int8Budget = None,
    opset: Opset = 18,
    exporter: Exporter = "torchscript",
    remove_padding: RemovePadding = False,
    calibrate_now: Calibrate = True,
    require: Require = None,
    trust_remote_code: Trust = False,
    cache_dir: CacheFolder = None,
    as_json: AsJson = False,
) -> None:
    """Turn a sparse checkpoint (from any tool, or made by --sparsity) into a measured ONNX model. No training."""
    wanted = parse_requirements(require)
    columns = _given(text=text, text_pair=text_pair, label=label, negative=negative, group=group)
    machine = {"threads": threads, "device": device}
    forms = {
        "force": force, "values": values, "attention": attention, "embeddings": embeddings,
        "int8_budget": int8_budget,
    }  # fmt: skip
    recipe: dict[str, Any] = {
        "kind": "compress",
        "model": {"name": model, "task": task or "unknown", "cache_dir": cache_dir},
        "dense": dense,
        "data": _rows(data, calibration, columns),
        "oneshot": _oneshot(sparsity, method),
        "plan": {"tokens": tokens, "calibrate": calibrate_now, **machine, **forms},
        "export": {"opset": opset, "exporter": exporter, "remove_padding": remove_padding},
        "verify": {"atol": atol, "sensitivity": sensitivity},
        "bench": {"batch": numbers(batch, "--batch", LIMITS["bench.batch"]), "runs": runs, **machine},
    }
    finish(run_stages(_parsed(recipe, task, trust_remote_code), output, as_json), output, as_json, wanted)


def _given(**flags: Any) -> dict[str, Any]:
    """Those keys of a section whose flag is on the command line."""
    return {key: value for key, value in flags.items() if value is not None}


def _rows(data: str | None, calibration: str | None, columns: dict[str, str]) -> dict[str, Any] | None:
    """The data section of `compress`. Raises InputError for a column of no file."""
    files = _given(validation=data, calibration=calibration)
    if columns and not files:
        flag = next(iter(columns)).replace("_", "-")
        raise InputError(f"--{flag} names a column of --data, which is not given; give --data FILE too")
    return {**files, **columns} or None


def _oneshot(sparsity: float | None, method: str | None) -> dict[str, Any] | None:
    """The section of pruning without training. Raises InputError for a flag of --sparsity alone."""
    if sparsity is None and method is not None:
        raise InputError("--method says how --sparsity prunes, which is not given; give --sparsity 0.5 too")
    return None if sparsity is None else {"sparsity": sparsity, **_given(method=method)}


def _parsed(recipe: dict[str, Any], task: str | None, trust_remote_code: bool) -> Recipe:
    """The recipe of `compress` with the task of the checkpoint. Raises InputError; what needs no model is said first."""
    check_paths(parse_recipe(recipe, source="compress"))
    task = _task(task, recipe["model"], trust_remote_code)
    if recipe["data"] is not None and "validation" in recipe["data"] and task not in TRAINABLE_TASKS:
        raise InputError(
            f"--data is for {', '.join(TRAINABLE_TASKS)}, but the model's task is {shown(task)}, which has no metric; "
            "leave --data away"
        )
    whole = {**recipe, "model": {**recipe["model"], "task": task}}
    return trusting(parse_recipe(whole, source="compress"), trust_remote_code)


def _task(task: str | None, model: dict[str, Any], trust_remote_code: bool) -> str:
    """The task of a foreign checkpoint. Raises InputError for one that nobody knows."""
    from platon_compress.tasks.checkpoint import TASKS
    from platon_compress.tasks.models import infer_task

    if task is None:
        return infer_task(model["name"], trust_remote_code=trust_remote_code, cache_dir=model["cache_dir"])
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; use one of: {', '.join(TASKS)}")
    return task


add_stage_commands(app)
add_measuring_commands(app)
add_starting_commands(app)
