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
from platon_compress.cli.require import Requirement, check_budget, check_requirements, parse_requirements
from platon_compress.cli.start import add_starting_commands
from platon_compress.cli.strict import StrictCommand
from platon_compress.errors import InputError, shown
from platon_compress.limits import LIMITS
from platon_compress.pipeline.output import say
from platon_compress.recipe import (
    TRAINABLE_TASKS,
    Recipe,
    load_recipe,
    parse_recipe,
    shipped_recipe,
    trusting,
)
from platon_compress.recipe.paths import check_paths

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
        str | None, typer.Option("--train", help="Training rows, instead of the recipe's data.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", help="Validation rows, as --train.")
    ] = None,
    test: Annotated[
        str | None, typer.Option("--test", help="Test rows, as --train; nothing is chosen by them.")
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
    budget = _given(
        max_latency=max_latency,
        min_speedup=None if min_speedup is None else str(min_speedup),
        max_size=max_size,
        max_drop=None if max_drop is None else str(max_drop),
    )
    asked = tuple(f"budget.{key}={value}" for key, value in budget.items())
    loaded = load_recipe(_recipe_path(recipe), (*(set_ or ()), *asked), data=given)
    loaded = trusting(loaded, trust_remote_code)
    check_paths(loaded)
    if dry_run:
        from platon_compress.pipeline.dry_run import describe_run

        described = describe_run(loaded, reporter(as_json))
        if as_json:
            say(json.dumps(described))
        return
    _finish(_run(loaded, output, as_json), output, as_json, wanted)
    if loaded.budget is not None:
        check_budget(output)


@app.command(cls=StrictCommand)
def demo(output: Output = _DEMO_FOLDER, set_: Overrides = None, as_json: AsJson = False) -> None:
    """Run the main job on scikit-learn's handwritten digits and a small ViT; a few minutes on two cores."""
    loaded = load_recipe(shipped_recipe("digits"), tuple(set_ or ()))
    check_paths(loaded)
    _finish(_run(loaded, output, as_json), output, as_json)


@app.command(cls=StrictCommand)
def compress(
    model: Annotated[str, typer.Argument(help="Model folder or hub id: with zeros, or with --sparsity.")],
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
    embeddings: Embeddings = "float32",
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
    """Turn a sparse checkpoint, made by any tool or by --sparsity, into a measured ONNX model. No training."""
    wanted = parse_requirements(require)
    columns = _given(text=text, text_pair=text_pair, label=label, negative=negative, group=group)
    machine = {"threads": threads, "device": device}
    forms = {
        "force": force, "values": values, "attention": attention, "embeddings": embeddings,
        "int8_budget": int8_budget,
    }  # fmt: skip
    recipe: dict[str, Any] = {
        "kind": "compress",
        # The task is put in when the settings that need no model have passed.
        "model": {"name": model, "task": task or "unknown", "cache_dir": cache_dir},
        "dense": dense,
        "data": _rows(data, calibration, columns),
        "oneshot": _oneshot(sparsity, method),
        "plan": {"tokens": tokens, "calibrate": calibrate_now, **machine, **forms},
        "export": {"opset": opset, "exporter": exporter, "remove_padding": remove_padding},
        "verify": {"atol": atol, "sensitivity": sensitivity},
        "bench": {"batch": numbers(batch, "--batch", LIMITS["bench.batch"]), "runs": runs, **machine},
    }
    check_paths(parse_recipe(recipe, source="compress"))
    recipe["model"]["task"] = _task(model, task, trust_remote_code, cache_dir)
    if data is not None:
        _check_measured(recipe["model"]["task"])
    parsed = trusting(parse_recipe(recipe, source="compress"), trust_remote_code)
    _finish(_run(parsed, output, as_json), output, as_json, wanted)


@app.command(cls=StrictCommand)
def prune(
    recipe: RecipePath,
    output: Output,
    set_: Overrides = None,
    trust_remote_code: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Train the dense baseline and the pruned model of RECIPE; the later stages wait for their commands."""
    loaded = trusting(load_recipe(_recipe_path(recipe), tuple(set_ or ())), trust_remote_code)
    check_paths(loaded)
    results = _run(loaded, output, as_json, until="prune")
    _print_stage("prune", results, as_json)


@app.command(cls=StrictCommand)
def bake(output: Output, trust_remote_code: Trust = False, as_json: AsJson = False) -> None:
    """Bake the masks of a pruned run into the weights, under model/."""
    _stage("bake", output, trust_remote_code, as_json)


@app.command(cls=StrictCommand)
def plan(output: Output, trust_remote_code: Trust = False, as_json: AsJson = False) -> None:
    """Choose a form per layer, into plan.json."""
    _stage("plan", output, trust_remote_code, as_json)


@app.command(cls=StrictCommand)
def convert(output: Output, trust_remote_code: Trust = False, as_json: AsJson = False) -> None:
    """Convert the layers as planned and say what was removed."""
    _stage("convert", output, trust_remote_code, as_json)


@app.command(cls=StrictCommand)
def export(output: Output, trust_remote_code: Trust = False, as_json: AsJson = False) -> None:
    """Write onnx/dense.onnx, onnx/pruned.onnx and onnx/compressed.onnx; with 8-bit values a float32 form of it too."""
    _stage("export", output, trust_remote_code, as_json)


@app.command(cls=StrictCommand)
def verify(output: Output, trust_remote_code: Trust = False, as_json: AsJson = False) -> None:
    """Check parity and take the metric, into parity.json; exit 1 beyond the tolerance."""
    _stage("verify", output, trust_remote_code, as_json)


@app.command(cls=StrictCommand)
def report(
    output: Output,
    runs: Annotated[
        list[Path] | None, typer.Argument(help="With --pareto: folders of finished runs.")
    ] = None,
    pareto: Annotated[
        bool,
        typer.Option("--pareto", help="Compare the files of several runs: which does no other one beat?"),
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
    """Write report.md and report.html from a run's JSON files; --pareto: a page of several runs."""
    wanted = parse_requirements(require)
    if pareto:
        _compare_runs(runs or [], output, batch, tokens, as_json)
        return
    if runs or batch or tokens:
        raise InputError(
            "report -o RUN takes no other folder or size; several runs are compared with --pareto"
        )
    _finish(_continue("report", output, False, as_json), output, as_json, wanted)


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


def _run(recipe: Recipe, output: Path, as_json: bool, until: str | None = None) -> dict[str, Any]:
    from platon_compress.pipeline.runner import run_recipe

    return run_recipe(recipe, output, reporter(as_json), until=until)


def _continue(stage: str, output: Path, trust_remote_code: bool, as_json: bool) -> dict[str, Any]:
    from platon_compress.pipeline.runner import continue_run

    return continue_run(output, stage, reporter(as_json), trust_remote_code=trust_remote_code)


def _stage(stage: str, output: Path, trust_remote_code: bool, as_json: bool) -> None:
    _print_stage(stage, _continue(stage, output, trust_remote_code, as_json), as_json)


def _print_stage(stage: str, results: dict[str, Any], as_json: bool) -> None:
    if as_json:
        say(json.dumps({stage: results[stage]}))


def _finish(
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


def _recipe_path(name: Path) -> Path:
    """A path as given, or the shipped recipe of that name."""
    if name.suffix in (".yaml", ".yml") or len(name.parts) > 1 or name.is_file():
        return name
    return shipped_recipe(str(name))


def _given(**flags: str | None) -> dict[str, str]:
    """Those keys of the data section whose flag is on the command line."""
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


def _check_measured(task: str) -> None:
    """Raises InputError for a task that has no metric of its own."""
    if task not in TRAINABLE_TASKS:
        raise InputError(
            f"--data is for {', '.join(TRAINABLE_TASKS)}, but the model's task is {shown(task)}, which has no metric; "
            "leave --data away"
        )


def _task(model: str, task: str | None, trust_remote_code: bool, cache_dir: str | None) -> str:
    """The task of a foreign checkpoint. Raises InputError for one that nobody knows."""
    from platon_compress.tasks.models import TASKS, infer_task

    if task is None:
        return infer_task(model, trust_remote_code=trust_remote_code, cache_dir=cache_dir)
    if task not in TASKS:
        raise InputError(f"task {task!r} is unknown; use one of: {', '.join(TASKS)}")
    return task


add_measuring_commands(app)
add_starting_commands(app)
