"""The search finds the least loss of every choice within the budget, and its work does not explode."""

import itertools

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.pruning.unit_search import BUCKETS, least_loss


def _brute(losses, seconds, budget):
    """The least loss over every combination."""
    return min(
        sum(loss[i] for loss, i in zip(losses, picks, strict=True))
        for picks in itertools.product(*(range(len(loss)) for loss in losses))
        if sum(times[i] for times, i in zip(seconds, picks, strict=True)) <= budget
    )


def _problem(generator, items, options):
    """Curves as pruning has them: the fewer units, the faster and the worse; not every point is really faster."""
    losses = [np.cumsum(generator.random(options) ** 3) for _ in range(items)]
    seconds = [
        np.sort(generator.random(options))[::-1] + 0.05 * generator.random(options) + 0.1
        for _ in range(items)
    ]
    return losses, seconds


@pytest.mark.parametrize("seed", range(20))
def test_against_every_combination(seed):
    generator = np.random.default_rng(seed)
    losses, seconds = _problem(generator, items=5, options=6)
    slowest, fastest = (sum(float(f(times)) for times in seconds) for f in (np.max, np.min))
    budget = fastest + generator.random() * (slowest - fastest)
    found = least_loss(losses, seconds, budget)
    assert found.seconds <= budget
    assert found.loss == pytest.approx(sum(loss[i] for loss, i in zip(losses, found.picks, strict=True)))
    # Seconds are rounded up to parts of the budget: not worse than the best in a budget smaller by a part an item.
    assert found.loss <= _brute(losses, seconds, max(fastest, budget * (1 - 5 / BUCKETS))) + 1e-12
    assert found.loss >= _brute(losses, seconds, budget) - 1e-12


def test_a_budget_of_everything_loses_nothing():
    losses, seconds = _problem(np.random.default_rng(0), items=4, options=5)
    losses = [loss - loss[0] for loss in losses]
    found = least_loss(losses, seconds, sum(float(times.max()) for times in seconds) + 1)
    assert found.picks == (0, 0, 0, 0)
    assert found.loss == 0


def test_a_point_that_is_slower_and_worse_is_never_taken():
    losses = [np.array([0.0, 1.0, 2.0])] * 3
    seconds = [np.array([1.0, 1.2, 0.5])] * 3
    for budget in (1.5, 2.0, 2.5, 3.0):
        assert 1 not in least_loss(losses, seconds, budget).picks


def test_equal_losses_keep_the_earlier_option():
    found = least_loss([np.zeros(3)] * 2, [np.array([0.3, 0.2, 0.1])] * 2, 1.0)
    assert found.picks == (0, 0)


def test_a_budget_of_exactly_the_fastest_choice():
    seconds = [np.array([1.0, 1 / 3])] * 3
    found = least_loss([np.array([0.0, 1.0])] * 3, seconds, 3 * float(seconds[0][1]))
    assert found.picks == (1, 1, 1)


def test_a_budget_of_nothing_takes_what_costs_nothing():
    assert least_loss([np.array([0.0, 1.0])] * 2, [np.array([1.0, 0.0])] * 2, 0.0).picks == (1, 1)


def test_a_budget_out_of_reach_is_refused():
    with pytest.raises(
        InputError, match=r"no choice takes at most 0\.1 seconds, the fastest takes 0\.2; allow more"
    ):
        least_loss([np.zeros(2)] * 2, [np.array([0.3, 0.1])] * 2, 0.1)


def test_the_work_of_twelve_layers():
    """24 half blocks of 21 counts: a few million sums in arrays, so milliseconds."""
    losses, seconds = _problem(np.random.default_rng(0), items=24, options=21)
    found = least_loss(losses, seconds, 0.5 * sum(float(times.max()) for times in seconds))
    assert found.compared == 24 * 21 * (BUCKETS + 1) < 6_000_000
