"""What a run measures before it plans."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from platon_compress.measure.calibrate import CalibrationScope
from platon_compress.pipeline import costing


@pytest.mark.parametrize("unsettled", [0, 2])
def test_the_whole_scope_is_measured_and_a_busy_machine_is_said(monkeypatch, unsettled):
    asked, said = {}, []

    def calibrate(shapes, densities, rows, threads, *, block_rows, int8, progress):
        asked.update(shapes=shapes, densities=densities, rows=rows, threads=threads, block_rows=block_rows)
        asked["int8"] = int8
        return {"unsettled_cells": unsettled, "rows": [1, 2, 3]}

    monkeypatch.setattr("platon_compress.measure.calibrate.calibrate", calibrate)
    scope = CalibrationScope(shapes=((4, 8),), densities=(0.1,), rows=(16,), threads=(1,), block_rows=4)
    reporter = SimpleNamespace(progress=lambda _: nullcontext(), warn=said.append)
    assert costing.calibrate_scope(SimpleNamespace(reporter=reporter), scope, int8=True)["rows"] == [1, 2, 3]
    assert asked == {
        "shapes": ((4, 8),), "densities": (0.1,), "rows": (16,), "threads": (1,), "block_rows": 4, "int8": True
    }  # fmt: skip
    warned = [line.split(" because")[0] for line in said]
    assert warned == ["2 of 3 layer timings did not settle"] * bool(unsettled)
