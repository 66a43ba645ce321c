"""The grid of real trainings: what a cell is, what it is held against, how seeds become a row."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import quality
import yaml
from readme_tables import refreshed
from scipy.stats import t as student
from trials import controls
from trials.cell import finished, run_cell, trained
from trials.collected import collected
from trials.controls import bm25, check_controls
from trials.grid import Setup, chosen, read_grid
from trials.seeds import criteria_apart, difference_over_seeds, rows_of

from platon_compress.errors import InputError
from platon_compress.files import write_json
from platon_compress.measure.result_files import read_results
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pruning import latest_complete_checkpoint
from platon_compress.recipe import TRAINABLE_TASKS
from platon_compress.schemas import stamped
from platon_compress.scoring import Scores, accuracy_evaluation

ROOT = Path(__file__).parents[2]
TASKS = ROOT / "benchmarks" / "grids" / "tasks.yaml"
TINY = {
    "recipe": "digits",
    "changes": {
        "kind": "run",
        "model": {
            "config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
            }
        },
        "train": {"epochs": 0.3, "evaluations": 2},
        "distill": {},
        "plan": {"calibrate": False},
        "bench": {"batch": [1], "runs": 6},
    },
    "model": "tiny ViT",
    "data": "digits",
    "sparsity": [0.5, 0.8],
    "seeds": [1, 2],
    "controls": ["untrained", "taught"],
}
HALVES = ("every_second_layer", "every_second_layer_int8")


def written(folder, **rows):
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({"title": "Tiny", "rows": rows or {"digits": TINY}}))
    return path


def setup_of(folder, **more):
    return Setup(**{"data": (), "runs": folder / "runs", "threads": 1, **more})


def scores(right, metric="accuracy"):
    """Of a model that is right where `right` says so."""
    labels = np.zeros(len(right), dtype=int)
    logits = np.stack([np.asarray(right), 1 - np.asarray(right)], axis=1)
    evaluation = accuracy_evaluation([{"x": logits}], [labels])
    return evaluation.score([{"logits": logits}])


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


@pytest.mark.parametrize("control", ["taught", "every_second_layer", "every_second_layer_int8"])
def test_controls_with_a_teacher_need_one(control):
    recipe = SimpleNamespace(distill=None)
    with pytest.raises(InputError, match=f"the control {control} is for a teacher beside labels"):
        check_controls(recipe, (control,))


def _touch(value, folder):
    """Every file that a recipe names below {data}."""
    if isinstance(value, dict):
        for inner in value.values():
            _touch(inner, folder)
    elif isinstance(value, str) and value.startswith("{data}/"):
        path = folder / value.removeprefix("{data}/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_control_is_measured_once_for_a_row_and_again_for_another_recipe(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(
        controls._CONTROLS, "untrained", lambda work, folder: calls.append(folder) or {"scores": len(calls)}
    )
    work = SimpleNamespace(reporter=Reporter(quiet=True))

    def score(pattern, folder="controls", **changes):
        row = {**TINY, "changes": {**TINY["changes"], **changes}, "controls": ["untrained"]}
        cell = chosen(read_grid(written(tmp_path, digits=row)), pattern)[0]
        found = controls.measure_controls(work, cell, tmp_path / folder, tmp_path / "controls", complete=True)
        assert found["untrained"].keys() == {"scores", "seconds"}
        return found["untrained"]["scores"]

    assert [score("digits-50-s1"), score("digits-80-s1")] == [1, 1]
    assert score("digits-50-s1", prune={"beta1": 0.5}) == 1  # nobody prunes it
    assert score("digits-50-s1", folder="borrower") == 1
    assert score("digits-50-s1", folder="borrower", train={"epochs": 0.5}) == 2
    assert score("digits-50-s1", folder="borrower", train={"epochs": 0.5}) == 2


def test_bm25_is_the_textbook_formula():
    passages = ["the cat sat", "the dog sat on the log", "a bird"]
    found = bm25(["cat on log", "cat on log", "the bird"], passages)
    mean = (3 + 6 + 2) / 3

    def term(count, length, holding):
        rarity = np.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))

    assert found == pytest.approx([term(1, 3, 1), 2 * term(1, 6, 1), term(1, 2, 1)])
    assert bm25(["Cat, cat!"], ["CAT"]) == pytest.approx(2 * bm25(["cat"], ["cat"]))


def test_one_seed_has_the_interval_of_its_pairs():
    ours, other = scores([1, 1, 1, 0] * 50), scores([1, 1, 0, 1] * 50)
    change = difference_over_seeds([ours], [other])
    alone = ours.minus(other)
    assert change["value"] == 0
    assert change["statement"] == "undecided"
    assert change["seeds_error"] is None
    # McNemar's error is that of the pair; two standard errors there, 1.96 here.
    assert change["high"] == pytest.approx(alone.high * 1.96 / 2, rel=0.02)


def test_seeds_that_agree_narrow_the_interval_and_seeds_that_do_not_widen_it():
    generator = np.random.default_rng(0)
    dense = [scores(generator.random(400) < 0.9) for _ in range(4)]
    worse = [scores(generator.random(400) < 0.7) for _ in range(4)]
    one = difference_over_seeds(worse[:1], dense[:1])
    four = difference_over_seeds(worse, dense)
    assert one["statement"] == four["statement"] == "lower"
    assert four["high"] - four["low"] < one["high"] - one["low"]
    # One seed that failed says that others may: the mean alone would call this certain.
    apart = [scores(generator.random(400) < share) for share in (0.9, 0.9, 0.9, 0.2)]
    split = difference_over_seeds(apart, dense)
    assert split["value"] < -0.1
    assert split["statement"] == "undecided"
    values = np.array([a.value - d.value for a, d in zip(apart, dense, strict=True)])
    assert split["seeds_error"] == pytest.approx(values.std(ddof=1) / 2)
    whole = split["units_error"] ** 2 + split["seeds_error"] ** 2
    freedom = 3 * whole**2 / split["seeds_error"] ** 4
    margin = student.ppf(0.975, freedom) * np.sqrt(whole)
    assert (split["low"], split["high"]) == pytest.approx((split["value"] - margin, split["value"] + margin))


def test_units_that_every_seed_shares_are_not_averaged_away():
    """Ten seeds that fail on the same rows know no more of other rows than one."""
    dense, ours = scores([1] * 100), scores([1] * 80 + [0] * 20)
    one, ten = (difference_over_seeds([ours] * n, [dense] * n) for n in (1, 10))
    assert ten["units_error"] == pytest.approx(0.04, rel=0.1)  # of 20 in 100
    assert ten["units_error"] == pytest.approx(one["units_error"], rel=0.1)


def test_seeds_of_different_rows_are_refused():
    with pytest.raises(InputError, match="the seeds of a row answered different examples"):
        difference_over_seeds([scores([1, 0])], [scores([1, 0, 1])])


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
    assert "no look at the input" in rows[0]
    assert "before training" in rows[0]
    assert quality.main([*arguments, "--cells", "*-s1"]) == 0
    assert capsys.readouterr().out == "digits-50-s1: done before\ndigits-80-s1: done before\n"


@pytest.mark.train
def test_the_model_of_every_second_layer_is_trained_and_timed_once_for_all_sparsities(tmp_path):
    layers = {"model": {"config": {**TINY["changes"]["model"]["config"], "num_hidden_layers": 2}}}
    row = {**TINY, "changes": {**TINY["changes"], **layers}, "controls": list(HALVES)}
    grid, setup, quiet = read_grid(written(tmp_path, digits=row)), setup_of(tmp_path), Reporter(quiet=True)
    first, second = chosen(grid, "*-s1")
    assert not run_cell(grid, first, setup, quiet, until="verify")
    assert not list(setup.controls(grid, first).glob("*"))
    assert run_cell(grid, first, setup, quiet)
    assert run_cell(grid, second, setup, quiet)
    assert not (setup.folder(grid, second) / "stages" / "every-second-layer").exists()
    cell, other = (finished(grid, each, setup) for each in (first, second))
    assert cell["controls"] == other["controls"]
    for name in HALVES:
        control = cell["controls"][name]
        assert control["steps"] == cell["steps"]["prune"]
        assert control["speeds"][0]["ratio"]["baseline"] == "ONNX Runtime dense"
        assert control["scores"]["units"] == cell["scores"]["dense"]["units"]
        assert name in cell["differences"]


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
    assert "goes on from step" in again.stdout
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
        "other": {"baseline": "first", "changes": {"prune": {"criterion": "magnitude"}}},
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


def _judged_cell(row, seed, right, *, sparsity=0.9, labels=True, **prune):
    """Of a hundred examples the first `right` are answered right."""
    recipe = {
        "train": {"seed": seed, "learning_rate": 1e-4},
        "prune": {"sparsity": sparsity, **prune},
        "distill": {"labels": labels},
    }
    judged = scores(np.arange(100) < right).to_dict()
    return {
        "row": row,
        "seed": seed,
        "sparsity": sparsity,
        "recipe": recipe,
        "scores": {"compressed": judged},
    }


def test_criteria_are_compared_on_the_seeds_of_both_where_nothing_else_differs():
    cells = [
        _judged_cell("platon", 1, 60),
        _judged_cell("platon", 2, 70),
        _judged_cell("fisher", 2, 90, criterion="fisher", learning_rate=2e-4),
        _judged_cell("same", 2, 80, learning_rate=2e-4),
        _judged_cell("unlike", 2, 90, criterion="fisher", labels=False),
        _judged_cell("later", 3, 90, criterion="magnitude"),
        _judged_cell("sparser", 2, 90, criterion="fisher", sparsity=0.95),
    ]
    found = [(e["row"], e["against"], e["seeds"], round(e["value"], 9)) for e in criteria_apart(cells)]
    assert found == [("platon", "fisher", 1, -0.2), ("fisher", "same", 1, 0.1)]


def _finish(grid, setup, name, right):
    """A cell.json as a run writes it, without the run."""
    (cell,) = chosen(grid, name)
    judged = {
        variant: scores(np.arange(100) < n).to_dict()
        for variant, n in {"compressed": right, "dense": 90}.items()
    }
    content = {
        "row": cell.row_name, "sparsity": cell.sparsity, "seed": cell.seed, "task": "text-classification",
        "recipe": cell.described(), "environment": {}, "scores": judged, "trivial": 0.5, "controls": {},
        "steps": {"dense": 10, "prune": 10},
    }  # fmt: skip
    write_json(setup.folder(grid, cell) / "cell.json", stamped("quality-cell", content))


def _values(content):
    return {
        (row["row"], row["sparsity"], len(row["seeds"])): row["values"]["compressed"]["accuracy"]
        for row in content["rows"]
    }


def test_rows_of_another_machine_stay_until_they_are_measured_again(tmp_path, monkeypatch):
    monkeypatch.setattr("trials.collected.trained", lambda *_: None)  # which reads the run's own folder
    common = {**TINY, "controls": []}
    rows = {"digits": common, "more": {**common, "sparsity": [0.9], "seeds": [1]}}
    grid = read_grid(written(tmp_path, **rows))
    there, here = setup_of(tmp_path / "there"), setup_of(tmp_path / "here")
    for name, right in {"digits-50-s1": 80, "digits-50-s2": 70, "digits-80-s1": 60, "more-90-s1": 50}.items():
        _finish(grid, there, name, right)
    earlier, _ = collected(grid, list(grid.cells()), there, None)
    assert _values(earlier) == {("digits", 0.5, 2): 0.75, ("digits", 0.8, 1): 0.6, ("more", 0.9, 1): 0.5}

    _finish(grid, here, "digits-80-s1", 65)
    content, said = collected(grid, list(grid.cells()), here, earlier)
    assert _values(content) == {("digits", 0.5, 2): 0.75, ("digits", 0.8, 1): 0.65, ("more", 0.9, 1): 0.5}
    assert "digits-50-s2: kept from the earlier result" in said
    assert "digits-80-s2: left out, it is not finished" in said
    assert list(content["cells"]) == ["digits-50-s1", "digits-80-s1", "digits-50-s2", "more-90-s1"]

    content, _ = collected(grid, list(grid.cells()), setup_of(tmp_path / "nowhere"), earlier)
    assert content == earlier

    # One seed of two: the other's resamples are elsewhere. And a recipe that the grid no longer asks for.
    _finish(grid, here, "digits-50-s1", 85)
    rows["more"] = {**rows["more"], "changes": {**TINY["changes"], "train": {"epochs": 9}}}
    grid = read_grid(written(tmp_path, **rows))
    content, said = collected(grid, list(grid.cells()), here, earlier)
    assert _values(content) == {("digits", 0.5, 1): 0.85, ("digits", 0.8, 1): 0.65}
    assert "digits-50-s2: left out, it is not finished" in said
    assert list(content["cells"]) == ["digits-50-s1", "digits-80-s1"]
