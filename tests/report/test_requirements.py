import pytest
from sample_runs import bench, run

from platon_compress.report.requirements import FIGURES, figures


def test_figures_take_the_worst_setting():
    found = figures(run(bench([2.4, 1.9], [1.4, 1.6]), ours=0.84, dense=0.85, int8=0.83))
    assert set(found) <= set(FIGURES)
    expected = {
        "accuracy": 84.0,
        "accuracy_drop": 1.0,
        "accuracy_drop_int8": -1.0,
        "speedup": 1.9,
        "speedup_low": 1.88,
        "speedup_int8": 1.4,
        "speedup_int8_low": 1.38,
        "size_ratio": 0.2,
        "size_ratio_int8": 0.8,
        "sparsity": 90.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_every_metric_has_a_drop_by_a_name_that_fits():
    found = figures(run(bench([2.0]), ours=0.84, dense=0.85, int8=0.83))
    for short, rest in (("metric", ""), ("metric_drop", "_drop"), ("metric_drop_int8", "_drop_int8")):
        assert found[short] == found[f"accuracy{rest}"]


def test_what_was_not_measured_is_left_out():
    data = bench([2.0])
    data["settings"][0]["ratios"][0].update(low=None, high=None, statement="undecided")
    found = figures(run(data, ours=None, dense=None))
    assert found["speedup"] == 2.0
    assert not {"accuracy", "accuracy_drop", "speedup_low", "speedup_int8", "max_difference"} & found.keys()


def test_no_drop_against_a_baseline_that_guesses_and_nothing_of_a_file_that_is_gone():
    found = figures(run(bench([2.0]), ours=0.5, dense=0.5, classes=["a", "b"]))
    assert "accuracy" in found
    assert "accuracy_drop" not in found
    assert figures(run(bench([2.0]), file_problem="it is gone")) == {}
