"""What the verdict says of a budget."""

from dataclasses import replace

import pytest
from sample_runs import bench, run

from platon_compress.measure.bench_report import VariantSamples
from platon_compress.report.budget import budget_misses, measured_figures, spoken_budget
from platon_compress.report.verdict import judge


def _run(budget, *, drop=0.4, tokens=None, speeds=(2.0,)):
    """A finished run with a budget whose planned setting is the first that the benchmark timed."""
    made = run(bench(list(speeds)), ours=0.84, dense=0.85)
    samples = {"compressed": VariantSamples(warm_seconds=(0.009, 0.010, 0.011))}
    first = replace(made.bench.settings[0], samples=samples)
    planned = {"batch": first.batch, "tokens": first.tokens if tokens is None else tokens}
    stages = made.state["stages"]
    stages = {**stages, "choose": {"result": {**stages["prune"]["result"], "drop": {"value": drop}}}}
    return replace(
        made,
        bench=replace(made.bench, settings=(first,)),
        plan={**made.plan, "config": planned},
        recipe={**made.recipe, "budget": budget},
        state={**made.state, "stages": stages},
    )


def test_without_a_budget_nothing_is_said():
    made = run(bench([2.0]), ours=0.84, dense=0.85)
    assert (budget_misses(made), spoken_budget(made)) == ((), "")
    assert judge(made).budget == ""


def test_a_met_budget_is_said_with_its_figures():
    made = _run({"min_speedup": 1.9, "max_drop": 1})
    assert budget_misses(made) == ()
    line = judge(made).line
    assert "The budget (at least 1.9x dense, at most 1 point lost) is met: " in line
    assert line.endswith("0.40 points below dense on the validation rows.")


@pytest.mark.parametrize(
    ("budget", "missed"),
    [
        ({"min_speedup": 2.2}, None),  # 2.0 is within a tenth
        ({"min_speedup": 2.3}, "2.00x the speed of dense (target 2.3x)"),
        ({"max_drop": 0.3}, "0.40 points lost (limit 0.3)"),
        ({"max_size": "1kB"}, "(limit 0.001 MB)"),
    ],
)
def test_a_missed_budget_makes_it_a_no(budget, missed):
    made = _run(budget)
    told = budget_misses(made)
    assert len(told) == (missed is not None)
    if missed is not None:
        assert missed in told[0]
        verdict = judge(made)
        assert verdict.answer == "no"
        assert "it misses the budget: " in verdict.sentence
        assert " is missed: " in verdict.line


def test_a_setting_that_was_not_timed_meets_nothing():
    made = _run({"min_speedup": 1.5}, tokens=9999)
    assert measured_figures(made) is None
    assert budget_misses(made) == ("it was not timed at the planned batch and tokens",)
    assert spoken_budget(made).startswith("The budget (at least 1.5x dense) is missed: ")
