"""The tables of kills, damaged folders and surroundings, and the damage itself; tests/pipeline runs the study."""

import random

import pytest
import torture
from tables.torture import torture_tables
from torturing.mutations import KINDS

_ROW = {
    "job": "run", "title": "`run`", "stages": {"data": 2, "bake": 3}, "repeated": 1, "continued": 4, "finished": 2,
    "mutations": 5, "refused": 4, "went_on": 1, "kinds": {"flip": 5},
}  # fmt: skip


def test_rows_of_all_results():
    other = {**_ROW, "title": "`compress`", "stages": {"bake": 7}}
    around = [
        {"name": "two", "title": "two runs", "finished": 1, "refused": 1},
        {"name": "full", "title": "a full disk", "finished": None, "refused": None},
    ]
    results = {
        "one": {"kind": "torture", "rows": [_ROW, other], "surroundings": []},
        "two": {"kind": "torture", "rows": [_ROW], "surroundings": around},
        "three": {"kind": "fuzz"},
    }
    counts, stages, surroundings = torture_tables(results)
    assert counts.rows == [
        ("run", "10", "2", "8", "4", "10", "8", "2"),
        ("compress", "7", "1", "4", "2", "5", "4", "1"),
    ]
    assert stages.head == ("kills by stage", "data", "bake")
    assert stages.rows == [("run", "4", "6"), ("compress", "\u2013", "7")]
    assert surroundings.rows == [("two runs", "1", "1"), ("a full disk", "not possible here", "\u2013")]


@pytest.mark.parametrize("kind", KINDS)
def test_damage_damages(kind):
    before = bytes(range(100))
    after = KINDS[kind](before, random.Random(1))
    assert after != before
    assert KINDS[kind](b"", random.Random(1)) is not None


@pytest.mark.parametrize("words", [["--jobs", "x"], ["--jobs", "", "--surroundings", "x"]])
def test_unknown_names(words, capsys):
    assert torture.main(words) == 2
    assert "there is no 'x'; choose of" in capsys.readouterr().err
