"""Trainings of a row, of two grids: each change, and all with an interval over examples and seeds."""

import copy

import numpy as np
import pytest
from tables.quality import difference_words
from tables.repeated import repeated_tables
from tiny_grid import scores
from trials.seeds import difference_over_seeds

from platon_compress.report.words import NONE


def _grid(title, row, rights, **more):
    """A row of 200 examples, a seed for each of `rights`: the pruned model answers so many; dense 180, the taught 190."""
    judged = [
        {
            "dense": scores(np.arange(200) < 180),
            "compressed": scores(np.arange(200) >= 200 - right),
            "taught": scores(np.arange(200) < 190),
        }
        for right in rights
    ]
    cells = {f"{row}-{seed}": _cell(row, each) for seed, each in enumerate(judged)}
    kept = {
        "row": row, "sparsity": 0.8, "metric": "accuracy", "seeds": [10 + i for i in range(len(rights))],
        "differences": {rival: _change(judged, rival) for rival in ("dense", "taught")}, **more,
    }  # fmt: skip
    return judged, {"kind": "quality", "title": title, "rows": [kept], "cells": cells}


def _cell(row, judged):
    contents = {name: each.to_dict() for name, each in judged.items()}
    for content in contents.values():
        del content["replicates"]  # as a result is kept
    taught = {"scores": contents.pop("taught")}
    return {"row": row, "sparsity": 0.8, "scores": contents, "controls": {"taught": taught}}


def _change(judged, rival):
    return difference_over_seeds(*([each[name] for each in judged] for name in ("compressed", rival)))


@pytest.fixture
def grids():
    first, criteria = _grid("Criteria", "films", [170])
    later, again = _grid("Again", "films-again", [150, 154], repeats="criteria/films")
    return [*first, *later], {"quality-criteria": criteria, "quality-again": again}


def test_all_trainings_have_the_interval_of_a_row_with_their_seeds(grids):
    judged, results = grids
    ((title, table),) = repeated_tables(results)
    assert title == "Again: changes in all trainings"
    row = ("films", "films-again", "80%", "accuracy")
    assert table.rows == [
        (*row, words, before, "10, 11", after, together)
        for words, rival in (("dense", "dense"), ("same teacher", "taught"))
        for before, after, together in [
            [difference_words(_change(part, rival)) for part in (judged[:1], judged[1:], judged)]
        ]
    ]
    assert [line[5][:4] for line in table.rows] == ["-5.0", "-10."]
    assert _change(judged, "dense")["value"] == pytest.approx(-0.11)


def test_without_answers_example_by_example_they_stay_apart(grids):
    _, results = grids
    results["quality-again"]["cells"]["films-again-1"]["scores"]["dense"]["right"] = None
    ((_, table),) = repeated_tables(results)
    assert table.rows[0][-1] == NONE
    assert table.rows[1][-1] != NONE


def test_a_control_that_one_of_them_lacks_is_left_out(grids):
    _, results = grids
    del results["quality-again"]["rows"][0]["differences"]["taught"]
    ((_, table),) = repeated_tables(results)
    assert [row[4] for row in table.rows] == ["dense"]


def test_rows_that_repeat_nothing_known_are_not_shown(grids):
    _, results = grids
    other = copy.deepcopy(results)
    other["quality-again"]["rows"][0]["repeats"] = "criteria/others"
    assert not list(repeated_tables(other))
    del results["quality-criteria"]
    assert not list(repeated_tables(results))
