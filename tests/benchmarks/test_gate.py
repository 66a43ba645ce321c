"""A new table against the committed one: what is worse beyond its error stops, what is not does not."""

import json

import pytest
from gate import compared, main
from grid_tables import table

from platon_compress.errors import InputError


def _worse(new, old):
    return [line for is_worse, line in compared(new, old) if is_worse]


def test_an_equal_table_passes():
    lines = list(compared(table(), table()))
    assert [is_worse for is_worse, _ in lines] == [False] * 3
    assert lines[0][1].startswith("films at 80%: -1.00 points from dense, -1.00 before")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"loss": 0.03}, "-3.00 points from dense, -1.00 before (standard error of the change 0.71)"),
        ({"speed": 2.5}, "batch 1, 32 tokens: 2.50x (2.38-2.62) dense, 3.00x (2.85-3.15) before"),
        ({"share": 0.52}, "0.52x the size of dense, 0.50x before"),
        ({"row": "books"}, "films at 80% is gone"),
    ],
)
def test_what_is_certainly_worse_is_named(changed, said):
    (line,) = _worse(table(**changed), table())
    assert line.endswith(said)


@pytest.mark.parametrize(
    "changed",
    [{"loss": 0.023}, {"loss": -0.02}, {"speed": 2.9}, {"speed": 4.0}, {"share": 0.505}, {"share": 0.1}],
)
def test_what_is_within_the_error_or_better_passes(changed):
    assert not _worse(table(**changed), table())


def test_speeds_of_different_machines_are_not_compared():
    lines = list(compared(table(cpu="other", speed=1.0), table()))
    assert not any(is_worse for is_worse, _ in lines)
    assert lines[-1][1] == "speeds are left out: another processor or another number of threads"


def test_the_exit_status_says_it(tmp_path, capsys):
    for name, content in (("old", table()), ("new", table(loss=0.05))):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    files = [str(tmp_path / f"{name}.json") for name in ("new", "old")]
    assert main([files[1], "--against", files[1]]) == 0
    assert main([files[0], "--against", files[1]]) == 1
    assert capsys.readouterr().err.rstrip().endswith("in 1 places")
    assert main([files[0]]) == 2  # no committed table is called new.json


@pytest.mark.parametrize(
    "change", [{"rows": None}, {"rows": [{}]}, {"cells": {}}, {"cells": {"a": {"row": 1}}}]
)
def test_a_damaged_table_is_one_line(change):
    with pytest.raises(InputError, match=r"no table of a grid .*; collect the grid again"):
        list(compared({**table(), **change}, table()))
