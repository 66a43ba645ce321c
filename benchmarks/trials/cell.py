"""One cell of a grid: the product's own run, its controls, and cell.json when both are there.

A cell that was stopped anywhere goes on from there: the run from its last stage or checkpoint, the controls from theirs.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from trials.controls import check_controls, measure_controls
from trials.grid import Cell, Grid, Setup

from platon_compress.errors import InputError
from platon_compress.files import read_json, write_json
from platon_compress.measure.bench_report import BenchReport
from platon_compress.pipeline.folder import Record, RunFolder
from platon_compress.pipeline.freshness import why_not_current
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.runner import run_recipe, stage_names
from platon_compress.pipeline.stages import stages_of
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import Recipe
from platon_compress.report.run_data import RunData, read_run
from platon_compress.schemas import require_kind, stamped
from platon_compress.scoring import Scores

__all__ = ["asked_for", "finished", "run_cell", "trained"]

FILE = "cell.json"
ROUTES = {"dense": "dense", "dense_int8": "dense_int8", "compressed": "onnx_compressed"}
"""Variant to the route of the parity check that its metric was taken by."""
_BEFORE_CONTROLS = ("data", "dense")


def finished(grid: Grid, cell: Cell, setup: Setup) -> dict[str, Any] | None:
    """The content of a cell that is done with the recipe and the controls that the grid has now, else None."""
    path = setup.folder(grid, cell) / FILE
    if not path.exists():
        return None
    content = require_kind(read_json(path, "delete it"), "quality-cell", str(path), "delete it")
    return dict(content) if asked_for(cell, content) else None


def asked_for(cell: Cell, content: Mapping[str, Any]) -> bool:
    """Whether this is what the grid asks for now: the same recipe, and every control."""
    return content["recipe"] == cell.described() and set(cell.row.controls) <= content["controls"].keys()


def trained(grid: Grid, cell: Cell, setup: Setup) -> dict[str, Any] | None:
    """What a cell reached on the validation rows, with what it was trained by; None unless trained as the grid says."""
    recipe = setup.recipe(grid, cell)
    record = _record("prune", recipe, setup.folder(grid, cell))
    if record is None or recipe.prune is None or recipe.train is None:
        return None
    return {
        "row": cell.row_name,
        "sparsity": cell.sparsity,
        "seed": cell.seed,
        "criterion": recipe.prune.criterion,
        "learning_rate": recipe.prune.learning_rate or recipe.train.learning_rate,
        "metric": record.result["metric"],
        "value": record.result["value"],
        "examples": record.result["examples"],
    }


def _record(stage: str, recipe: Recipe, path: Path) -> Record | None:
    """That of a stage in a run folder; None where it has not finished with this recipe."""
    if not path.exists():
        return None
    folder = RunFolder.open(path, recipe.kind)
    return None if stage in why_not_current(stages_of(recipe), folder, recipe) else folder.record(stage)


def run_cell(grid: Grid, cell: Cell, setup: Setup, reporter: Reporter, until: str | None = None) -> bool:
    """Run what is left of a cell, up to and with the stage `until`. Whether cell.json is there now.

    Raises what the run raises; InputError for a stage that there is not.
    """
    recipe, folder = setup.recipe(grid, cell), setup.folder(grid, cell)
    if until is not None and until not in stage_names(recipe):
        raise InputError(f"--until {until!r} is no stage; the stages: {', '.join(stage_names(recipe))}")
    check_controls(recipe, cell.row.controls)
    if until != "data":
        _train_baseline(setup.recipe(grid, cell.first), setup.folder(grid, cell.first), reporter)
    run_recipe(recipe, folder, reporter, until=until)
    if until in _BEFORE_CONTROLS:
        return False
    work = Workspace(RunFolder.open(folder, recipe.kind), recipe, reporter)
    complete = until in (None, stage_names(recipe)[-1])
    own, lent = (setup.controls(grid, each) for each in (cell, cell.first))
    controls = measure_controls(work, cell, own, lent, complete=complete)
    if not complete:
        return False
    write_json(folder / FILE, stamped("quality-cell", _described(cell, read_run(folder), controls)))
    return True


def _train_baseline(recipe: Recipe, folder: Path, reporter: Reporter) -> None:
    """The dense model that cells share, by one process: others wait for it, and leave alone what goes on in that folder."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder.with_name(f"{folder.name}.lock"))
    try:
        held = lock.acquire(timeout=0)
    except Timeout:
        reporter.say(f"waits for the dense model of {folder.name}, which another process trains")
        held = lock.acquire()
    with held:
        if _record("dense", recipe, folder) is None:
            run_recipe(recipe, folder, reporter, until="dense")


def _described(cell: Cell, run: RunData, controls: Mapping[str, Any]) -> dict[str, Any]:
    scores = {
        name: run.parity["scores"][route] for name, route in ROUTES.items() if route in run.parity["scores"]
    }
    ours = Scores.from_dict(scores["compressed"])
    others = {name: content for name, content in scores.items() if name != "compressed"}
    others |= {name: control["scores"] for name, control in controls.items()}
    return {
        "row": cell.row_name,
        "sparsity": cell.sparsity,
        "seed": cell.seed,
        "task": run.recipe["model"]["task"],
        "recipe": cell.described(),
        "environment": run.bench.environment,
        "scores": scores,
        "trivial": run.parity["trivial"],
        "controls": dict(controls),
        "differences": {name: asdict(ours.minus(Scores.from_dict(other))) for name, other in others.items()},
        "reached_sparsity": run.sparsity,
        "max_abs": max(row["max_abs"] for row in run.parity["rows"]),
        "plan": run.stage("plan")["counts"],
        "settings": [setting.to_dict() for setting in run.bench.settings],
        "sizes": _sizes(run.bench),
        "steps": {name: run.stage(name)["steps"] for name in ("dense", "prune")},
        "seconds": {name: stage["seconds"] for name, stage in run.state["stages"].items()},
        "verdict": run.stage("report")["verdict"],
    }


def _sizes(bench: BenchReport) -> dict[str, Any]:
    """Variant to its bytes on disk, and those of its encoder."""
    return {
        name: {"disk_bytes": variant.size.disk_bytes, "encoder_bytes": variant.size.encoder_bytes}
        for name, variant in bench.variants.items()
        if variant.size is not None
    }
