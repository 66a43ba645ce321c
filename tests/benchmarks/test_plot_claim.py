import json

import pytest
from grid_tables import table
from plot_claim import Point, front, main, points_of
from tables.quality import quality_tables

from platon_compress.schemas import stamped

pytest.importorskip("matplotlib")
_ROW = {
    "title": "films",
    "task": "text-classification",
    "metric": "accuracy",
    "units": 500,
    "sparsity": 0.8,
    "values": {"dense": 0.902, "int8": 0.88},
    "ratios": [{"candidate": "compressed", "baseline": "dense", "median": 4.0}],
}


def test_a_grid_gives_dense_int8_and_ours():
    int8, ours = points_of(table(loss=0.02, dense_int8=0.895))
    assert (int8.kind, int8.speed, round(int8.change, 9)) == ("dense int8", 2.0, -0.5)
    assert (ours.kind, ours.label, ours.speed, ours.change, ours.low, ours.high) == (
        "compressed", "80%", 3.0, -2.0, -3.0, -1.0,
    )  # fmt: skip
    assert ours.title == "MiniLM: 8,000 films"


def test_speeds_without_vnni_are_not_in_the_picture():
    grid = table()
    grid["environment"] = {"isa": "avx2"}
    assert not list(points_of(grid))


def test_the_model_of_every_second_layer_is_a_rival_where_it_was_timed():
    grid = table()
    (cell,) = grid["cells"].values()
    ratio = {
        "baseline": "a", "candidate": "b", "pairs": 9, "median": 5.0, "quartile_low": 5.0, "quartile_high": 5.0,
        "low": 4.9, "high": 5.1, "statement": "faster",
    }  # fmt: skip
    speeds = [
        {"batch": 8, "tokens": 32, "ratio": {**ratio, "median": 9.0}},
        {"batch": 1, "tokens": 32, "ratio": ratio},
    ]
    cell["controls"] = {"every_second_layer": {}, "every_second_layer_int8": {"speeds": speeds}}
    grid["rows"][0]["values"] |= {name: {"accuracy": 0.88} for name in cell["controls"]}
    half = [(p.kind, p.speed, round(p.change, 9)) for p in points_of(grid) if "second" in p.kind]
    assert half == [("int8, every second layer", 5.0, -2.0)]
    (_, shown), *_ = quality_tables({"quality-x": grid})
    assert "the same in int8 88.0% at 5.00x (4.90\N{EN DASH}5.10) the speed of dense" in shown.rows[0][-1]


@pytest.mark.parametrize(
    ("recipe", "kind"),
    [
        ({"plan": {"values": "int8"}}, "compressed, 8 bits"),
        ({"prune": {"granularity": "structured"}}, "structured, stock runtime"),
    ],
)
def test_kinds_are_told_apart(recipe, kind):
    assert list(points_of(table(recipe=recipe)))[-1].kind == kind


def test_a_grid_of_criteria_is_no_claim():
    same = {"learning_rate": 1e-4, "seed": 1, "sparsity": 0.8, "metric": "accuracy", "value": 0.9}
    cell = {**same, "criterion": "platon"}
    tried = {"a": cell, "b": {**cell, "criterion": "fisher"}}
    assert list(points_of({**table(), "validation": tried})) == []
    assert len(list(points_of({**table(), "validation": {"a": cell}}))) == 2


def test_the_front_is_what_nothing_is_faster_and_better_than():
    def point(speed, change):
        return Point(
            judged=("t", "m", 1),
            dense=0.9,
            title="t",
            kind="compressed",
            label="",
            speed=speed,
            change=change,
        )

    slow, worse, middle, fast, same = (
        point(1.5, 0.2), point(1.4, 0.1), point(3.5, -0.3), point(6.0, -1.4), point(3.5, -0.8)
    )  # fmt: skip
    assert front([worse, slow, same, fast, middle]) == [fast, middle, slow]
    assert front([]) == []


def test_one_panel_for_each_dense_model(tmp_path):
    rounded = stamped("rounded", {"rows": [_ROW, {**_ROW, "units": 7}]})
    results = {"a": table(), "b": table(row="books", dense=0.5), "r": rounded, "other": stamped("fuzz", {})}
    for name, content in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    assert main(["--results", str(tmp_path), "--picture", str(tmp_path / "claim.svg")]) == 0
    drawing = (tmp_path / "claim.svg").read_text()
    assert drawing.count("<!-- MiniLM: 8,000 films -->") == 2
    assert drawing.count("<!-- compressed, 8 bits -->") == 1


@pytest.mark.parametrize(
    "content",
    ["{}", "no json", json.dumps(stamped("quality", {"rows": [{}]})), json.dumps({**table(), "cells": {}})],
)
def test_what_cannot_be_drawn_is_one_line(tmp_path, capsys, content):
    (tmp_path / "quality-a.json").write_text(content)
    assert main(["--results", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "claim.png").exists()
