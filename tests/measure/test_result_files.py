import json

import pytest

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.measure.result_files import read_results, save_result

CLEAN = {"environment": {"git": {"commit": "abc", "dirty": False}}, "kind": "memory", "schema": 1}
CHANGED = {**CLEAN, "environment": {"git": {"commit": "abc", "dirty": True}}}


def test_round_trip(tmp_path):
    path = save_result(
        tmp_path / "results", "minilm-90", CLEAN, title="MiniLM", masks="trained", sparsity=0.9
    )
    assert path.name == "minilm-90.json"
    assert read_results(path.parent) == {
        "minilm-90": {"title": "MiniLM", "masks": "trained", "sparsity": 0.9, "verdict": None, **CLEAN}
    }
    assert [file.name for file in path.parent.iterdir()] == ["minilm-90.json"]


def test_a_report_without_its_kind_is_refused(tmp_path):
    with pytest.raises(InputError, match="x names no kind of result"):
        save_result(tmp_path, "x", {"environment": {}}, title="", masks="random")
    assert list(tmp_path.iterdir()) == []


def test_changed_tree_is_refused(tmp_path):
    with pytest.raises(CheckFailedError, match="x was measured from a checkout with local changes"):
        save_result(tmp_path, "x", CHANGED, title="", masks="random")
    assert list(tmp_path.iterdir()) == []
    assert save_result(tmp_path, "x", CHANGED, title="", masks="random", allow_changed_tree=True).exists()


@pytest.mark.parametrize("name", ["../x", "", "a b", ".hidden"])
def test_odd_names_are_refused(tmp_path, name):
    with pytest.raises(InputError, match="is no name for a result"):
        save_result(tmp_path, name, CLEAN, title="", masks="random")


def test_numbers_that_are_not_json_are_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        save_result(tmp_path, "x", {**CLEAN, "value": float("nan")}, title="", masks="random")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot read"),
        (json.dumps([]), "not a JSON object"),
        (
            json.dumps({"version": 1}),
            r"a\.json names no kind of result \(None\); measure it again or delete it",
        ),
    ],
)
def test_broken_results_are_refused(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read_results(tmp_path)
