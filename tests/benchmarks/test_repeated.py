"""Two trainings of a row, of two grids: each change, and both with an interval over examples and seeds."""

import copy

import numpy as np
import pytest
from tables.quality import difference_words
from tables.repeated import repeated_tables
from tiny_grid import scores
from trials.seeds import difference_over_seeds

from platon_compress.report.words import NONE


def _grid(title, row, right, **more):
    """A result with one row: 200 examples of which the dense model answers 180 right, and the compressed `right`."""
    judged = {"dense": scores(np.arange(200) < 180), "compressed": scores(np.arange(200) >= 200 - right)}
    cell = {"row": row, "sparsity": 0.8, "scores": {name: each.to_dict() for name, each in judged.items()}}
    for content in cell["scores"].values():
        del content["replicates"]  # as a result is kept
    change = difference_over_seeds([judged["compressed"]], [judged["dense"]])
    kept = {"row": row, "sparsity": 0.8, "metric": "accuracy", "differences": {"dense": change}, **more}
    return judged, {"kind": "quality", "title": title, "rows": [kept], "cells": {row: cell}}


@pytest.fixture
def grids():
    first, criteria = _grid("Criteria", "films", 170)
    second, again = _grid("Again", "films-again", 150, repeats="criteria/films")
    return (first, second), {"quality-criteria": criteria, "quality-again": again}


def test_both_trainings_have_the_interval_of_a_row_with_two_seeds(grids):
    judged, results = grids
    ((title, table),) = repeated_tables(results)
    both = difference_over_seeds(*([each[name] for each in judged] for name in ("compressed", "dense")))
    ((*_, first, second, together),) = table.rows
    assert title == "Again: change from dense in both trainings"
    assert (first[:4], second[:5]) == ("-5.0", "-15.0")
    assert together == difference_words(both)
    assert both["seeds_error"] == pytest.approx(0.05)


def test_without_answers_example_by_example_both_stay_apart(grids):
    _, results = grids
    results["quality-again"]["cells"]["films-again"]["scores"]["dense"]["right"] = None
    ((_, table),) = repeated_tables(results)
    assert table.rows[0][-1] == NONE


def test_rows_that_repeat_nothing_known_are_not_shown(grids):
    _, results = grids
    other = copy.deepcopy(results)
    other["quality-again"]["rows"][0]["repeats"] = "criteria/others"
    assert not list(repeated_tables(other))
    del results["quality-criteria"]
    assert not list(repeated_tables(results))
