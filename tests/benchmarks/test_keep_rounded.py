"""Runs with 8-bit values as one result and its table; others are refused."""

import json
from dataclasses import replace

import keep_rounded
import pytest
from sample_runs import bench, ratio, run, scores
from tables.rounded import rounded_tables


def _rounded(**parity):
    data = bench([6.0], [2.0])
    data["settings"][0]["ratios"].append(ratio("compressed_float32", "compressed", 1.9))
    routes = {"dense": 0.85, "dense_int8": 0.84, "onnx_float32": 0.83, "onnx_compressed": 0.828}
    kept = {"scores": {route: scores(value, 0.01) for route, value in routes.items()}}
    change = {"value": -0.002, "low": -0.004, "high": 0.001, "paired": True}
    kept["rounded"] = {"rounding": {"metric_difference": change}}
    return run(data, parity={**kept, **parity}, recipe={"model": {"task": "text-classification"}})


def test_a_row_for_each_run(tmp_path, monkeypatch):
    monkeypatch.setattr(keep_rounded, "read_run", lambda folder: replace(_rounded(), folder=folder))
    assert keep_rounded.main(["Films=runs/films", "-o", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "rounded.json").read_text())
    ((_, table),) = rounded_tables({"rounded": result})
    cells = [cell.strip() for cell in str(table).strip().splitlines()[-1].strip("|").split("|")]
    assert cells[:3] == ["Films, batch 1, 128 tokens", "90%", "accuracy (872 examples)"]
    assert cells[3:8] == ["85.00%", "84.00%", "83.00%", "82.80%", "-0.20 (-0.40 to +0.10)"]
    assert [cell.split()[0] for cell in cells[8:]] == ["6.00x", "2.00x", "1.90x"]


@pytest.mark.parametrize(
    ("argument", "made", "message"),
    [
        ("runs/films", _rounded(), "'runs/films' names no run; write TITLE=RUN"),
        ("Films=runs/films", _rounded(rounded={}), "has no 8-bit values or no metric"),
        ("Films=runs/films", _rounded(scores={}), "has no 8-bit values or no metric"),
    ],
)
def test_what_cannot_be_kept_is_one_line(tmp_path, monkeypatch, capsys, argument, made, message):
    monkeypatch.setattr(keep_rounded, "read_run", lambda folder: made)
    assert keep_rounded.main([argument, "-o", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "rounded.json").exists()
