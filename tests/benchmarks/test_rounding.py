"""The rounding benchmark: counts that are exactly divisible, and rows that compare like with like."""

import json

import pytest
import rounding

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


def test_rows_and_file(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        rounding,
        "measure_rounding",
        lambda **_: stamped("rounding", {"summary": {"1": 1.5}, "rows": measured}),
    )
    measured = rounding._measure(tmp_path, 16, rounding.counts_near(128), tokens=4, threads=1, runs=2)
    assert [row["multiple"] for row in measured] == list(rounding.MULTIPLES)
    assert measured[-1]["cost_per_neuron"] == 1.0
    assert set(rounding._summary(measured)) == {str(m) for m in rounding.MULTIPLES}
    assert rounding.main(["-o", str(tmp_path), "--name", "r"]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["rows"] == measured
    assert "multiples of 1: 1.500 of the reference's cost per neuron" in capsys.readouterr().out
