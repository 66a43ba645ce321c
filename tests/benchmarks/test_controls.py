"""What a row is held against: for which recipes, how often it is measured, and BM25."""

from types import SimpleNamespace

import numpy as np
import pytest
from tiny_grid import TINY, setup_of, written
from trials import controls
from trials.cell import finished, run_cell
from trials.controls import bm25, check_controls
from trials.grid import chosen, read_grid

from platon_compress.errors import InputError
from platon_compress.pipeline.reporter import Reporter

HALVES = ("every_second_layer", "every_second_layer_int8")


@pytest.mark.parametrize("control", ["taught", "every_second_layer", "every_second_layer_int8"])
def test_controls_with_a_teacher_need_one(control):
    recipe = SimpleNamespace(distill=None)
    with pytest.raises(InputError, match=f"the control {control} is for a teacher beside labels"):
        check_controls(recipe, (control,))


def test_a_control_is_measured_once_for_a_row_and_again_for_another_recipe(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setitem(
        controls._CONTROLS, "untrained", lambda work, folder: calls.append(folder) or {"scores": len(calls)}
    )

    def score(pattern, folder="controls", **changes):
        row = {**TINY, "changes": {**TINY["changes"], **changes}, "controls": ["untrained"]}
        grid = read_grid(written(tmp_path, digits=row))
        cell = chosen(grid, pattern)[0]
        work = SimpleNamespace(reporter=Reporter(quiet=True), recipe=setup_of(tmp_path).recipe(grid, cell))
        found = controls.measure_controls(work, cell, tmp_path / folder, tmp_path / "controls", complete=True)
        assert found["untrained"].keys() == {"scores", "seconds"}
        return found["untrained"]["scores"]

    assert [score("digits-50-s1"), score("digits-80-s1")] == [1, 1]
    assert score("digits-50-s1", prune={"beta1": 0.5}) == 1  # nobody prunes it
    assert score("digits-50-s1", folder="borrower") == 1
    assert score("digits-50-s1", folder="borrower", train={"epochs": 0.5}) == 2
    assert score("digits-50-s1", folder="borrower", train={"epochs": 0.5}) == 2
    # what is trained without pruning starts from the baseline then too, and is trained as long
    assert score("digits-50-s1", folder="other", prune={"from_dense": True}) == 3
    assert score("digits-50-s1", folder="other", prune={"from_dense": True, "beta1": 0.5}) == 3
    assert score("digits-50-s1", folder="longer", prune={"epochs": 2}) == 4
    # a learning rate is the pruned one's alone, but where both go on from the baseline
    assert score("digits-50-s1", folder="longer", prune={"epochs": 2, "learning_rate": 1e-4}) == 4
    assert score("digits-50-s1", folder="other", prune={"from_dense": True, "learning_rate": 1e-4}) == 5


def test_bm25_is_the_textbook_formula():
    passages = ["the cat sat", "the dog sat on the log", "a bird"]
    found = bm25(["cat on log", "cat on log", "the bird"], passages)
    mean = (3 + 6 + 2) / 3

    def term(count, length, holding):
        rarity = np.log(1 + (3 - holding + 0.5) / (holding + 0.5))
        return rarity * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * length / mean))

    assert found == pytest.approx([term(1, 3, 1), 2 * term(1, 6, 1), term(1, 2, 1)])
    assert bm25(["Cat, cat!"], ["CAT"]) == pytest.approx(2 * bm25(["cat"], ["cat"]))


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
