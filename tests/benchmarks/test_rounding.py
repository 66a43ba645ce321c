"""The rounding benchmark: counts that are exactly divisible, and rows that compare like with like."""

import json

import numpy as np
import pytest
import rounding

from platon_compress.export.session import open_session
from platon_compress.schemas import stamped


@pytest.mark.parametrize("reference", [512, 1536])
def test_each_count_has_exactly_its_multiple(reference):
    for multiple, count in rounding.counts_near(reference).items():
        if multiple == max(rounding.MULTIPLES):
            assert count == reference
        else:
            assert count % multiple == 0
            assert count % (2 * multiple)
            assert reference - 3 * multiple <= count < reference


def test_the_blocks_compute_a_feed_forward(tmp_path):
    session = open_session(rounding._write(tmp_path, 16, 24), use_library=False)
    x = np.random.default_rng(0).standard_normal((1, 5, 16), dtype=np.float32)
    (y,) = session.run(None, {"X": x})
    assert y.shape == x.shape
    assert np.isfinite(y).all()


def test_rows_and_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rounding, "_CASES", ((16, 128),))
    monkeypatch.setattr(
        rounding,
        "measure_rounding",
        lambda **_: stamped("rounding", {"summary": {"1": 1.5}, "rows": measured}),
    )
    measured = rounding.__dict__["_measure"](
        {m: rounding._write(tmp_path, 16, n) for m, n in rounding.counts_near(128).items()},
        rounding.counts_near(128),
        16,
        4,
        1,
        2,
    )
    assert [row["multiple"] for row in measured] == list(rounding.MULTIPLES)
    assert measured[-1]["cost_per_neuron"] == 1.0
    assert set(rounding._summary(measured)) == {str(m) for m in rounding.MULTIPLES}
    assert rounding.main(["-o", str(tmp_path), "--name", "r"]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == measured
    assert "multiples of 1: 1.500 of the reference's cost per neuron" in capsys.readouterr().out
