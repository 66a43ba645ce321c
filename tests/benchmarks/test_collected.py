"""A grid is filled over days and machines: which rows of an earlier result stay."""

import numpy as np
from tiny_grid import TINY, scores, setup_of, written
from trials.collected import collected
from trials.grid import chosen, read_grid

from platon_compress.files import write_json
from platon_compress.schemas import stamped


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
