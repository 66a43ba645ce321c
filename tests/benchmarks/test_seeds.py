"""How seeds become a row: intervals over units and seeds, and the criteria that are set against each other."""

import numpy as np
import pytest
from scipy.stats import t as student
from tiny_grid import scores
from trials.seeds import difference_over_seeds, rows_apart

from platon_compress.errors import InputError


def test_one_seed_has_the_interval_of_its_pairs():
    ours, other = scores([1, 1, 1, 0] * 50), scores([1, 1, 0, 1] * 50)
    change = difference_over_seeds([ours], [other])
    alone = ours.minus(other)
    assert change["value"] == 0
    assert change["statement"] == "undecided"
    assert change["seeds_error"] is None
    # McNemar's error is that of the pair; two standard errors there, 1.96 here.
    assert change["high"] == pytest.approx(alone.high * 1.96 / 2, rel=0.02)


def test_seeds_that_agree_narrow_the_interval_and_seeds_that_do_not_widen_it():
    generator = np.random.default_rng(0)
    dense = [scores(generator.random(400) < 0.9) for _ in range(4)]
    worse = [scores(generator.random(400) < 0.7) for _ in range(4)]
    one = difference_over_seeds(worse[:1], dense[:1])
    four = difference_over_seeds(worse, dense)
    assert one["statement"] == four["statement"] == "lower"
    assert four["high"] - four["low"] < one["high"] - one["low"]
    # One seed that failed says that others may: the mean alone would call this certain.
    apart = [scores(generator.random(400) < share) for share in (0.9, 0.9, 0.9, 0.2)]
    split = difference_over_seeds(apart, dense)
    assert split["value"] < -0.1
    assert split["statement"] == "undecided"
    values = np.array([a.value - d.value for a, d in zip(apart, dense, strict=True)])
    assert split["seeds_error"] == pytest.approx(values.std(ddof=1) / 2)
    whole = split["units_error"] ** 2 + split["seeds_error"] ** 2
    freedom = 3 * whole**2 / split["seeds_error"] ** 4
    margin = student.ppf(0.975, freedom) * np.sqrt(whole)
    assert (split["low"], split["high"]) == pytest.approx((split["value"] - margin, split["value"] + margin))


def test_units_that_every_seed_shares_are_not_averaged_away():
    """Ten seeds that fail on the same rows know no more of other rows than one."""
    dense, ours = scores([1] * 100), scores([1] * 80 + [0] * 20)
    one, ten = (difference_over_seeds([ours] * n, [dense] * n) for n in (1, 10))
    assert ten["units_error"] == pytest.approx(0.04, rel=0.1)  # of 20 in 100
    assert ten["units_error"] == pytest.approx(one["units_error"], rel=0.1)


def test_seeds_of_different_rows_are_refused():
    with pytest.raises(InputError, match="the seeds of a row answered different examples"):
        difference_over_seeds([scores([1, 0])], [scores([1, 0, 1])])


def _judged_cell(row, seed, right, *, sparsity=0.9, values="float32", hidden=0, **prune):
    """Of a hundred examples the first `right` are answered right."""
    recipe = {
        "train": {"seed": seed, "learning_rate": 1e-4},
        "prune": {"sparsity": sparsity, **prune},
        "distill": {"hidden": hidden},
        "plan": {"values": values},
    }
    judged = scores(np.arange(100) < right).to_dict()
    return {
        "row": row,
        "seed": seed,
        "sparsity": sparsity,
        "recipe": recipe,
        "scores": {"compressed": judged},
    }


def test_ways_to_train_and_prune_are_compared_on_the_seeds_of_both_where_nothing_else_differs():
    cells = [
        _judged_cell("platon", 1, 60),
        _judged_cell("platon", 2, 70),
        _judged_cell("fisher", 2, 90, criterion="fisher", learning_rate=2e-4),
        _judged_cell("same", 2, 80, learning_rate=2e-4, hidden=1),
        _judged_cell("unlike", 2, 90, criterion="fisher", values="int8"),
        _judged_cell("later", 3, 90, criterion="magnitude"),
        _judged_cell("sparser", 2, 90, criterion="fisher", sparsity=0.95),
    ]
    found = [(e["row"], e["against"], e["seeds"], round(e["value"], 9)) for e in rows_apart(cells)]
    assert found == [("platon", "fisher", 1, -0.2), ("platon", "same", 1, -0.1), ("fisher", "same", 1, 0.1)]
