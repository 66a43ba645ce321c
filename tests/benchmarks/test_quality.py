"""The grid of real trainings: what its file says, what a cell is, and how it becomes a result."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import quality
import yaml
from filelock import FileLock
from readme_tables import refreshed
from tiny_grid import TINY, setup_of, written
from trials.cell import _train_baseline, finished, run_cell, trained
from trials.grid import chosen, read_grid
from trials.seeds import rows_of

from platon_compress.errors import InputError
from platon_compress.measure.result_files import read_results
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.teaching import learns_from_itself
from platon_compress.pruning import latest_complete_checkpoint
from platon_compress.recipe import TRAINABLE_TASKS
from platon_compress.recipe.loading import load_recipe, shipped_recipe
from platon_compress.scoring import Scores

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "benchmarks" / "grids" / "tasks.yaml"


def test_a_cell_is_a_row_at_a_sparsity_with_a_seed(tmp_path):
    grid = read_grid(written(tmp_path))
    names = [cell.name for cell in grid.cells()]
    assert names == ["digits-50-s1", "digits-80-s1", "digits-50-s2", "digits-80-s2"]
    assert [cell.name for cell in chosen(grid, "*-80-*,none")] == ["digits-80-s1", "digits-80-s2"]
    cell = chosen(grid, "digits-80-s2")[0]
    described = cell.described()
    assert (described["prune"], described["train"]["seed"]) == ({"sparsity": 0.8}, 2)
    assert described["model"]["config"]["model_type"] == "vit"  # a section is changed, not replaced
    setup = setup_of(tmp_path)
    recipe = setup.recipe(grid, cell)
    assert recipe.dense == str(tmp_path / "runs" / "tiny" / "digits-50-s2")
    assert (recipe.plan.threads, recipe.train.bf16) == (1, False)
    assert setup.recipe(grid, cell.first).dense is None
    assert setup_of(tmp_path, bf16=True).recipe(grid, cell).train.bf16


def test_data_is_looked_for_below_the_folders_of_the_call(tmp_path):
    changes = {"data": {"dataset": None, "train": "{data}/a.npz", "validation": "{data}/b.npz"}}
    grid = read_grid(written(tmp_path, digits={**TINY, "changes": changes}))
    for folder, name in (("one", "b.npz"), ("two", "a.npz"), ("two", "b.npz")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).touch()
    cell = next(grid.cells())
    recipe = setup_of(tmp_path, data=(tmp_path / "one", tmp_path / "two")).recipe(grid, cell)
    assert recipe.data.train == str(tmp_path / "two" / "a.npz")
    assert recipe.data.validation == str(tmp_path / "one" / "b.npz")
    assert recipe.data.dataset is None
    assert cell.described()["data"]["train"] == "{data}/a.npz"  # what is kept names no folder
    with pytest.raises(InputError, match=r"no folder of --data \(.*one\) holds a.npz; name the one"):
        setup_of(tmp_path, data=(tmp_path / "one",)).recipe(grid, cell)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"controls": ["bm26"]},
            "rows.digits.controls.0 is 'bm26'; choose one of untrained, taught, every_second_layer",
        ),
        ({"seeds": [1, 1]}, "seeds names a value twice"),
        ({"sparsities": [0.5]}, "unknown key rows.digits.sparsities"),
        ({"sparsity": []}, "rows.digits.sparsity is empty"),
    ],
)
def test_a_wrong_grid_is_one_line(tmp_path, capsys, changes, message):
    path = written(tmp_path, digits={**TINY, **changes})
    assert quality.main([str(path), "--list"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1


def test_a_grid_that_is_none_is_called_a_grid(tmp_path, capsys):
    path = tmp_path / "none.yaml"
    assert quality.main([str(path), "--list"]) == 2
    assert "error: cannot read the grid '" in capsys.readouterr().err
    path.write_text("just text")
    assert quality.main([str(path), "--list"]) == 2
    assert "holds a str, not sections; benchmarks/grids holds some to start from" in capsys.readouterr().err


def test_a_folder_of_data_is_one_however_it_is_named(tmp_path, monkeypatch):
    """A run records the path, and would be another one with another."""
    monkeypatch.chdir(tmp_path)
    given = {"threads": 1, "bf16": False, "runs": tmp_path, "here": False, "dry_run": False}
    paths = [Path("one"), tmp_path / "two" / ".." / "one"]
    assert quality._setup(argparse.Namespace(data=paths, **given)).data == (tmp_path / "one",) * 2


def test_a_pattern_that_fits_nothing_is_one_line(tmp_path, capsys):
    assert quality.main([str(written(tmp_path)), "--cells", "digit-*", "--list"]) == 2
    assert "--cells 'digit-*' fits none of the 4 cells" in capsys.readouterr().err
    assert quality.main([str(written(tmp_path)), "--collect", "--runs", str(tmp_path)]) == 2
    assert "no cell of tiny is finished" in capsys.readouterr().err


def test_the_committed_grid_holds_recipes_for_every_row(tmp_path):
    grid = read_grid(TASKS)
    assert {row.recipe for row in grid.rows.values()} == set(TRAINABLE_TASKS)
    for cell in grid.cells():
        _touch(cell.described(), tmp_path)
        recipe = setup_of(tmp_path, data=(tmp_path,)).recipe(grid, cell)
        assert recipe.data.has_test, cell.name
        assert "taught" not in cell.row.controls or recipe.distill.labels


STRUCTURED = ROOT / "benchmarks" / "grids" / "structured.yaml"


def test_a_structured_cell_asks_for_a_speedup(tmp_path):
    grid = read_grid(STRUCTURED)
    for cell in grid.cells():
        _touch(cell.described(), tmp_path)
        recipe = setup_of(tmp_path, data=(tmp_path,)).recipe(grid, cell)
        assert recipe.prune.granularity == "structured"
        assert recipe.prune.speedup == pytest.approx(1 / (1 - cell.sparsity), abs=1e-6)
        assert recipe.prune.sparsity == pytest.approx(cell.sparsity, abs=1e-6)


@pytest.mark.parametrize(("name", "cells"), [("presets", "*"), ("topics", "balanced-longer-*")])
def test_rows_that_stand_for_a_preset_have_its_settings(tmp_path, name, cells):
    grid = read_grid(ROOT / "benchmarks" / "grids" / f"{name}.yaml")
    for cell in chosen(grid, cells):
        _touch(cell.described(), tmp_path)
        row = setup_of(tmp_path, data=(tmp_path,)).recipe(grid, cell)
        shipped = load_recipe(shipped_recipe(cell.row.recipe), preset="balanced")
        assert (row.train, row.prune, row.distill) == (shipped.train, shipped.prune, shipped.distill)
        assert row.plan.values == shipped.plan.values


def test_a_preset_in_fewer_passes_keeps_its_other_settings(tmp_path):
    grid = read_grid(ROOT / "benchmarks" / "grids" / "presets-avx2.yaml")
    for cell in chosen(grid, "*-balanced-*"):
        _touch(cell.described(), tmp_path)
        row = setup_of(tmp_path, data=(tmp_path,)).recipe(grid, cell)
        shipped = load_recipe(shipped_recipe(cell.row.recipe), preset="balanced")
        for recipe in (row, shipped):
            assert recipe.prune.epochs == 2 * recipe.train.epochs or learns_from_itself(row)
        assert row.prune == shipped.prune.model_copy(update={"epochs": row.prune.epochs})
        assert (row.distill, row.plan.values) == (shipped.distill, shipped.plan.values)


def test_repeated_rows_are_the_rows_they_name_with_later_seeds():
    repeated = list(read_grid(ROOT / "benchmarks" / "grids" / "repeated.yaml").cells())
    assert repeated
    for other in repeated:
        grid, _, name = other.row.repeats.partition("/")
        (one,) = chosen(
            read_grid(ROOT / "benchmarks" / "grids" / f"{grid}.yaml"), f"{name}-{100 * other.sparsity:g}-s1"
        )
        ours, theirs = other.described(), one.described()
        assert ours["train"].pop("seed") > theirs["train"].pop("seed") == 1, other.name
        assert ours == theirs, other.name


def _touch(value, folder):
    """Every file that a recipe names below {data}."""
    if isinstance(value, dict):
        for inner in value.values():
            _touch(inner, folder)
    elif isinstance(value, str) and value.startswith("{data}/"):
        path = folder / value.removeprefix("{data}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two sparsities of a seed, the first stopped behind its training and called again."""
    folder = tmp_path_factory.mktemp("quality")
    path = written(folder)
    grid, setup = read_grid(path), setup_of(folder)
    quiet = Reporter(quiet=True)
    first, second = chosen(grid, "*-s1")
    stopped = run_cell(grid, first, setup, quiet, until="prune")
    assert (stopped, finished(grid, first, setup)) == (False, None)
    assert (setup.controls(grid, first) / "taught.json").is_file()
    assert run_cell(grid, first, setup, quiet)
    with RunFolder.open(
        setup.folder(grid, first), "run"
    ).locked():  # its dense model is there, whoever goes on with it
        assert run_cell(grid, second, setup, quiet)
    return path, grid, setup


@pytest.mark.train
def test_a_finished_cell_holds_everything_that_the_table_shows(run):
    _, grid, setup = run
    cells = [finished(grid, cell, setup) for cell in chosen(grid, "*-s1")]
    for cell in cells:
        ours, dense = (Scores.from_dict(cell["scores"][name]) for name in ("compressed", "dense"))
        assert cell["differences"]["dense"]["value"] == pytest.approx(ours.value - dense.value)
        assert set(cell["differences"]) == {"dense", "dense_int8", "untrained", "taught"}
        assert cell["steps"]["dense"] == cell["steps"]["prune"] == cell["controls"]["taught"]["steps"]
        assert 0.05 < cell["trivial"] < 0.2
        assert {"dense", "dense_int8", "compressed"} <= cell["sizes"].keys()
        assert cell["settings"][0]["ratios"]
        assert cell["reached_sparsity"] == pytest.approx(cell["sparsity"], abs=0.01)
    assert cells[0]["scores"]["dense"] == cells[1]["scores"]["dense"]  # one baseline
    assert cells[0]["controls"] == cells[1]["controls"]
    cell = chosen(grid, "digits-50-s1")[0]
    assert trained(grid, cell, setup)["learning_rate"] == cell.described()["train"]["learning_rate"]
    row = cell.row.model_copy(update={"changes": {**cell.row.changes, "train": {"epochs": 9}}})
    assert trained(grid, replace(cell, row=row), setup) is None
    assert not list(setup.runs.rglob("taught-checkpoints"))


@pytest.mark.train
def test_a_grid_becomes_a_result_and_a_table(run, tmp_path, capsys):
    path, _, setup = run
    arguments = [str(path), "--runs", str(setup.runs)]
    assert quality.main([*arguments, "--collect", "-o", str(tmp_path)]) == 0
    assert "digits-50-s2: left out, it is not finished" in capsys.readouterr().out
    kept = json.loads((tmp_path / "quality-tiny.json").read_text())
    assert [row["sparsity"] for row in kept["rows"]] == [0.5, 0.8]
    assert "replicates" not in json.dumps(kept)
    assert str(setup.runs) not in json.dumps(kept)
    page = "<!-- results:quality -->\n<!-- /results:quality -->\n"
    text = refreshed(page, read_results(tmp_path), "x.md")
    rows = [line for line in text.splitlines() if line.startswith("| digits | tiny ViT | digits |")]
    assert [row.split(" | ")[3] for row in rows] == ["50%", "80%"]
    assert "undecided" in rows[0]
    assert "trivial answer" in rows[0]
    assert "before training" in rows[0]
    assert quality.main([*arguments, "--cells", "*-s1"]) == 0
    assert capsys.readouterr().out == "digits-50-s1: done before\ndigits-80-s1: done before\n"


@pytest.mark.train
def test_two_seeds_are_one_row(run):
    _, grid, setup = run
    cell = finished(grid, chosen(grid, "digits-50-s1")[0], setup)
    (row,) = rows_of([cell, {**cell, "seed": 2}])
    assert row["seeds"] == [1, 2]
    assert row["differences"]["dense"]["seeds_error"] == 0
    assert row["values"]["taught"]["accuracy"] == cell["controls"]["taught"]["scores"]["values"]["accuracy"]


@pytest.mark.train
def test_a_killed_grid_ends_its_cell_and_goes_on_from_the_checkpoint(tmp_path):
    changes = {**TINY["changes"], "train": {"epochs": 8, "evaluations": 8}}
    path = written(tmp_path, digits={**TINY, "changes": changes})
    command = [
        sys.executable, quality.__file__, str(path), "--runs", str(tmp_path / "runs"), "--threads", "1",
        "--cells", "digits-50-s1", "--until", "dense",
    ]  # fmt: skip
    log = tmp_path / "log"
    with log.open("w") as file:
        grid = subprocess.Popen(command, stdout=file, stderr=file)
    folder = tmp_path / "runs" / "tiny" / "digits-50-s1"
    deadline = time.monotonic() + 300
    checkpoints = folder / "stages" / "dense-checkpoints"
    while latest_complete_checkpoint(checkpoints, with_pruner=False) is None:
        assert grid.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    grid.send_signal(signal.SIGTERM)
    assert grid.wait(180) == 130
    assert not _alive(str(folder.parent.parent))
    again = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert again.returncode == 0, again.stderr
    assert "resuming from step" in again.stdout
    assert not (folder / "cell.json").exists()


def _alive(name):
    """Processes that have `name` on their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if name in line and int(entry.name) != os.getpid():
            found.append(line)
    return found


@pytest.mark.train
def test_a_cell_that_fails_costs_no_other(tmp_path, capfd):
    broken = {**TINY, "changes": {"data": {"dataset": None, "train": "{data}/no", "validation": "{data}/no"}}}
    path = written(tmp_path, broken={**broken, "seeds": [1], "sparsity": [0.5]}, digits=TINY)
    arguments = [str(path), "--runs", str(tmp_path / "runs"), "--threads", "1", "--until", "data"]
    assert quality.main([*arguments, "--cells", "broken-*,digits-50-s1"]) == 1
    said = capfd.readouterr()
    assert "no folder of --data (none was named) holds no" in said.err
    assert "1 cells failed (broken-50-s1)" in said.err
    assert "digits-50-s1: begun after" in said.out
    assert quality.main([*arguments, "--cells", "digits-80-s1", "--minutes", "0"]) == 0
    assert "digits-80-s1: waits, the time is up" in capfd.readouterr().out


def test_rows_share_what_is_common_and_another_rows_dense_model(tmp_path):
    path = tmp_path / "lent.yaml"
    rows = {
        "first": {"sparsity": [0.5]},
        "other": {
            "baseline": "first",
            "changes": {"prune": {"criterion": "magnitude"}, "plan": {"threads": None}},
        },
    }
    path.write_text(yaml.safe_dump({"title": "Lent", "common": TINY, "rows": rows}))
    grid = read_grid(path)
    cells = list(grid.cells())
    assert [cell.name for cell in cells if cell.row_name == "first"] == ["first-50-s1", "first-50-s2"]
    assert {cell.first.name for cell in cells if cell.seed == 2} == {"first-50-s2"}
    last = cells[-1]
    setup = setup_of(tmp_path)
    recipe = setup.recipe(grid, last)
    assert (recipe.prune.criterion, recipe.train.seed, recipe.prune.sparsity) == ("magnitude", 2, 0.8)
    assert recipe.dense == str(tmp_path / "runs" / "lent" / "first-50-s2")
    assert setup.controls(grid, last) == tmp_path / "runs" / "lent" / "controls" / "other-s2"
    # The recipe's own, which `common` does not name; a row's null takes it away all the same.
    assert ["threads" in cell.described()["plan"] for cell in (cells[0], last)] == [True, False]


def test_a_cell_waits_for_the_dense_model_that_another_process_trains(tmp_path, monkeypatch):
    path = tmp_path / "runs" / "first-50-s1"
    path.parent.mkdir()
    trained_here, other = [], FileLock(f"{path}.lock")
    monkeypatch.setattr("trials.cell.run_recipe", lambda *given, **more: trained_here.append(more))
    said = SimpleNamespace(say=lambda text: (other.release(), said.texts.append(text)), texts=[])
    with other.acquire():
        _train_baseline(setup_of(tmp_path).recipe(*_first(tmp_path)), path, said)
    assert said.texts == ["waits for the dense model of first-50-s1, which another process trains"]
    assert trained_here == [{"until": "dense"}]


def _first(folder):
    grid = read_grid(written(folder))
    return grid, next(grid.cells())


@pytest.mark.parametrize(
    "rows",
    [
        {"a": {"baseline": "b"}},
        {"a": {"baseline": "a"}},
        {"a": {}, "b": {"baseline": "a"}, "c": {"baseline": "b"}},
        {"a": {"seeds": [1]}, "b": {"baseline": "a"}},
    ],
)
def test_a_baseline_must_be_lent_by_a_row_with_its_seeds(rows, tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({"title": "Bad", "common": TINY, "rows": rows}))
    with pytest.raises(InputError, match="name a row that trains its own, with the same seeds"):
        read_grid(path)
