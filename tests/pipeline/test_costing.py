"""The cost table that a run measures for itself."""

import pytest

from platon_compress.measure.calibrate import CalibrationScope
from platon_compress.pipeline.costing import _calibrate
from platon_compress.pipeline.reporter import Reporter


class _Work:
    reporter = Reporter(quiet=True)


def test_a_scope_is_measured_as_it_is():
    pytest.importorskip("onnxruntime")
    scope = CalibrationScope(shapes=((16, 32),), densities=(0.5,), rows=(4, 8), threads=(1,))
    table = _calibrate(_Work(), scope)
    assert [(row["out"], row["in"], row["rows"], row["threads"]) for row in table["rows"]] == [
        (16, 32, rows, 1) for rows in (4, 8)
    ]
