"""A test split chooses nothing: curves and int8's settings see the validation rows, parity and the metric the test rows."""

import json

import numpy as np
import pytest
import yaml

from platon_compress.cli import main
from platon_compress.files import read_json
from platon_compress.pipeline import stages, verifying
from platon_compress.testing import tiny_recipe

ROWS = {"train": 96, "validation": 70, "test": 81}


@pytest.fixture
def digits(tmp_path):
    """Three .npz files of handwritten digits of different sizes, and a recipe for the first two."""
    pytest.importorskip("sklearn")
    from sklearn.datasets import load_digits

    found, start = load_digits(), 0
    for name, rows in ROWS.items():
        part = slice(start, start + rows)
        images = (found.images[part] * 15.9).astype(np.uint8)[..., None]
        np.savez(tmp_path / f"{name}.npz", image=images, label=found.target[part])
        start += rows
    recipe = tiny_recipe()
    recipe["data"] = {"train": str(tmp_path / "train.npz"), "validation": str(tmp_path / "validation.npz")}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return tmp_path


@pytest.mark.train
def test_what_each_split_is_for(digits, monkeypatch):
    asked = []
    verification = verifying.verification

    def watched(work, split, limit=None):
        evaluation = verification(work, split, limit)
        asked.append((split, evaluation.examples))
        return evaluation

    for module in (stages, verifying):  # both ask for it by name
        monkeypatch.setattr(module, "verification", watched)
    run = digits / "run"
    recipe, test = str(digits / "recipe.yaml"), str(digits / "test.npz")
    assert main(["run", recipe, "-o", str(run), "--test", test]) == 0
    assert asked == [
        ("validation", ROWS["validation"]),
        ("test", ROWS["test"]),
    ]  # int8's settings, then parity
    parity = read_json(run / "parity.json", "")
    assert (parity["inputs"], parity["examples"]) == ("test data", ROWS["test"])
    assert parity["scores"]["dense_int8"]["units"] == ROWS["test"]
    results = json.loads((run / "state.json").read_text())["stages"]
    assert [results[name]["result"]["examples"] for name in ("dense", "prune")] == [ROWS["validation"]] * 2
    report = (run / "report.md").read_text()
    assert "measured on the test rows" in report
    assert f"paired on {ROWS['test']} test examples" in report
    assert "On the same test examples" in (run / "report.html").read_text()


def test_test_rows_are_read_before_the_first_step(digits, capsys):
    images = np.zeros((80, 8, 8, 1), np.uint8)
    np.savez(digits / "odd.npz", image=images, label=np.arange(80) % 2 + 20)
    arguments = [
        "run",
        str(digits / "recipe.yaml"),
        "-o",
        str(digits / "run"),
        "--test",
        str(digits / "odd.npz"),
    ]
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "test" in error
    assert "label '20' is not among the classes" in error
