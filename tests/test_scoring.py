"""Metrics with their resamples: pairing, intervals, the JSON form."""

import math

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.scoring import (
    RESAMPLES,
    Evaluation,
    Scores,
    accuracy_evaluation,
    as_evaluation,
    resampled,
)


def _scores(right: np.ndarray, keep_right: bool = True) -> Scores:
    return Scores(
        metric="accuracy",
        values={"accuracy": float(right.mean())},
        unit="row",
        units=len(right),
        replicates=resampled(len(right), lambda chosen: float(right[chosen].mean())),
        right=right if keep_right else None,
    )


@pytest.fixture
def answers():
    generator = np.random.default_rng(0)
    dense = generator.random(900) < 0.85
    # The other model answers the same on all but a few rows.
    other = np.where(generator.random(900) < 0.02, ~dense, dense)
    return dense, other


def test_the_resamples_give_the_binomial_error(answers):
    scores = _scores(answers[0])
    share = scores.value
    assert scores.replicates.shape == (RESAMPLES,)
    assert scores.standard_error == pytest.approx(np.sqrt(share * (1 - share) / 900), rel=0.1)


def test_pairs_are_told_apart_where_independent_samples_are_not(answers):
    dense, other = map(_scores, answers)
    paired = other.minus(dense)
    apart = _scores(answers[1][:899]).minus(dense)
    assert paired.paired
    assert not apart.paired
    assert paired.high - paired.low < 0.5 * (apart.high - apart.low)


def test_the_bootstrap_agrees_with_mcnemar(answers):
    exact = _scores(answers[1]).minus(_scores(answers[0]))
    sampled = _scores(answers[1], keep_right=False).minus(_scores(answers[0], keep_right=False))
    assert sampled.value == exact.value
    assert sampled.low == pytest.approx(exact.low, abs=0.003)
    assert sampled.high == pytest.approx(exact.high, abs=0.003)


def test_equal_answers_on_few_rows_are_not_certainly_equal():
    right = np.array([True, False, True, True])
    difference = _scores(right).minus(_scores(right))
    assert difference.value == 0
    assert difference.high > 0.1


@pytest.mark.parametrize(("units", "reach"), [(3, 1.0), (9, 3 / 9), (200, 3 / 200)])
def test_what_was_never_seen_to_differ_may_still(units, reach):
    """Rule 4: two models that answer alike, judged by a metric without right and wrong."""
    values = np.random.default_rng(0).random(units)
    scores = Scores(
        metric="f1", values={"f1": float(values.mean())}, unit="query", units=units,
        replicates=resampled(units, lambda chosen: float(values[chosen].mean())),
    )  # fmt: skip
    difference = scores.minus(scores)
    assert (difference.low, difference.value, difference.high) == pytest.approx((-reach, 0, reach))


def test_few_units_never_make_a_difference_certain():
    """Six articles, each a little worse: the bootstrap alone would be sure of it."""
    values = np.linspace(0.5, 0.9, 6)
    ours, other = (
        Scores(
            metric="f1", values={"f1": float(each.mean())}, unit="article", units=6,
            replicates=resampled(6, lambda chosen, each=each: float(each[chosen].mean())),
        )
        for each in (values - 0.05, values)
    )  # fmt: skip
    difference = ours.minus(other)
    assert difference.low < difference.value < 0 < difference.high


def test_scores_survive_their_json_form(answers):
    scores = _scores(answers[0])
    again = Scores.from_dict(scores.to_dict())
    assert again.value == scores.value
    assert np.array_equal(again.right, scores.right)
    assert np.allclose(again.replicates, scores.replicates, atol=1e-6)


WRITTEN = {
    "metric": "f1", "values": {"f1": 0.5}, "unit": "row", "units": 2, "replicates": [0.5, 0.25], "right": "10",
}  # fmt: skip


def test_written_content_is_taken():
    assert Scores.from_dict(WRITTEN).to_dict()["right"] == "10"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"metric": "f1"},
        {"metric": "f1", "values": 3},
        {**WRITTEN, "replicates": 0.5},
        {**WRITTEN, "replicates": [[0.5]]},
        {**WRITTEN, "replicates": [10**400]},
        {**WRITTEN, "replicates": [math.nan]},
        {**WRITTEN, "values": {"f1": 10**400}},
        {**WRITTEN, "values": {"f1": math.inf}},
        {**WRITTEN, "metric": "accuracy"},
        {**WRITTEN, "units": math.inf},
        {**WRITTEN, "units": 0},
        {**WRITTEN, "right": "1"},
        {**WRITTEN, "right": 1},
    ],
)
def test_other_content_is_refused(content):
    with pytest.raises(InputError, match="no scores"):
        Scores.from_dict(content)


def test_labels_make_an_evaluation():
    batches = [{"x": np.zeros((3, 2))}, {"x": np.zeros((1, 2))}]
    evaluation = accuracy_evaluation(batches, [np.array([0, 1, 1]), np.array([1])])
    scores = evaluation.score(
        [{"logits": np.array([[1, 0], [0, 1], [1, 0]])}, {"logits": np.array([[0, 1]])}]
    )
    assert scores.value == 0.75
    assert scores.right.tolist() == [True, True, False, True]
    assert (evaluation.trivial, evaluation.examples) == (0.75, 4)


def test_bare_batches_are_not_scored():
    evaluation = as_evaluation([{"x": np.zeros((3, 2))}])
    assert (evaluation.score, evaluation.examples) == (None, 3)
    assert as_evaluation(evaluation) is evaluation
    assert isinstance(evaluation, Evaluation)


def test_labels_that_are_split_otherwise_are_refused():
    with pytest.raises(InputError, match="got 2 labels for 3 examples"):
        accuracy_evaluation([{"x": np.zeros((3, 2))}], [np.zeros(2)])
