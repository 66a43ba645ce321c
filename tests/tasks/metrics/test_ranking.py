"""Rankings: worked by hand, against scikit-learn, and every order of small lists."""

import itertools

import numpy as np
import pytest
from sklearn import metrics

from platon_compress.errors import InputError
from platon_compress.tasks.metrics.ranking import ranking_scores, trivial_ranking, unjudged_queries

METRICS = ("mrr@10", "ndcg@10", "average_precision")


def _passages(queries=30, each=25, graded=False, seed=0):
    """In any order, as files have them."""
    generator = np.random.default_rng(seed)
    groups = generator.permutation(np.repeat([f"q{n}" for n in range(queries)], each))
    labels = (generator.random(len(groups)) < 0.15) * (generator.integers(1, 4, len(groups)) if graded else 1)
    return labels + generator.normal(size=len(groups)), labels, groups


@pytest.mark.parametrize("graded", [False, True])
def test_values_are_those_of_scikit_learn(graded):
    scores, labels, groups = _passages(graded=graded)
    queries = [np.flatnonzero(groups == query) for query in np.unique(groups)]
    queries = [rows for rows in queries if labels[rows].any()]
    ndcg = [metrics.ndcg_score([labels[rows]], [scores[rows]], k=10) for rows in queries]
    precision = [metrics.average_precision_score(labels[rows] > 0, scores[rows]) for rows in queries]
    ours = ranking_scores(scores, labels, groups)
    assert ours.values["ndcg@10"] == pytest.approx(np.mean(ndcg))
    assert ours.values["average_precision"] == pytest.approx(np.mean(precision))
    assert (ours.unit, ours.units) == ("query", len(queries))


def test_a_ranking_worked_by_hand():
    # a: relevant at 2 and 4 of 4; b: relevant at 1.
    scores = [0.9, 0.8, 0.7, 0.6, 5.0, 4.0]
    labels = [0, 1, 0, 1, 1, 0]
    ours = ranking_scores(scores, labels, list("aaaabb"))
    assert ours.values["mrr@10"] == pytest.approx((1 / 2 + 1) / 2)
    assert ours.values["average_precision"] == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)
    ideal = 1 + 1 / np.log2(3)
    assert ours.values["ndcg@10"] == pytest.approx(((1 / np.log2(3) + 1 / np.log2(5)) / ideal + 1) / 2)


@pytest.mark.parametrize(("rank", "value"), [(1, 1), (10, 0.1), (11, 0)])
def test_nothing_is_gained_below_rank_ten(rank, value):
    labels = (np.arange(15) == rank - 1).astype(int)
    assert ranking_scores(-np.arange(15), labels, ["q"] * 15).values["mrr@10"] == pytest.approx(value)
    assert (ranking_scores(-np.arange(15), labels, ["q"] * 15).values["ndcg@10"] > 0) == (rank <= 10)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0]])
def test_equal_scores_count_against_the_model_in_any_order(order):
    labels = np.array([1, 0, 0, 0])[order]
    ours = ranking_scores(np.zeros(4), labels, ["q"] * 4)
    assert ours.values["mrr@10"] == pytest.approx(1 / 4)
    assert ours.values["average_precision"] == pytest.approx(1 / 4)
    assert ours.values["ndcg@10"] == pytest.approx(1 / np.log2(5))


@pytest.mark.parametrize("metric", METRICS)
def test_queries_without_a_relevant_passage_are_left_out_and_counted(metric):
    scores, labels, groups = [3, 2, 1, 2, 1], [0, 1, 0, 0, 0], list("aaabb")
    ours = ranking_scores(scores, labels, groups, metric)
    alone = ranking_scores(scores[:3], labels[:3], groups[:3], metric)
    assert ours.units == 1
    assert ours.values == alone.values
    assert unjudged_queries(labels, groups) == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("labels", [[1], [1, 0], [1, 2, 0, 0, 0, 0], [1, 1, 1], [0, 0, 1, 0, 3, 1]])
def test_the_trivial_value_is_the_mean_over_all_orders(metric, labels):
    # Every order is a query of its own.
    orders = np.array(list(itertools.permutations(range(len(labels)))))
    groups = np.repeat(np.arange(len(orders)), len(labels))
    every = ranking_scores(orders.ravel(), np.tile(labels, len(orders)), groups, metric)
    expected = trivial_ranking([*labels, 0], ["q"] * len(labels) + ["nothing relevant"], metric)
    assert expected == pytest.approx(every.value)


@pytest.mark.parametrize("metric", METRICS)
def test_the_trivial_value_holds_beyond_the_cut(metric):
    generator = np.random.default_rng(0)
    labels = np.array([2, 1, 1] + [0] * 27)
    # 3,000 shuffles at once: each is a query of its own.
    scores, groups = generator.random(3000 * 30), np.repeat(np.arange(3000), 30)
    shuffled = ranking_scores(scores, np.tile(labels, 3000), groups, metric)
    expected = trivial_ranking(labels, ["q"] * 30, metric)
    assert shuffled.value == pytest.approx(expected, abs=4 * shuffled.standard_error)


@pytest.mark.parametrize("metric", METRICS)
def test_resamples_are_means_over_queries(metric):
    ours = ranking_scores(*_passages(), metric)
    assert ours.replicates.mean() == pytest.approx(ours.value, abs=0.02)
    assert 0.01 < ours.standard_error < 0.1


@pytest.mark.parametrize(
    ("scores", "labels", "groups", "said"),
    [
        ([1.0, float("nan")], [1, 0], ["q", "q"], "1 of the 2 scores are NaN"),
        ([1.0, 2.0], [1, -1], ["q", "q"], "label -1 is below 0; give 0"),
        ([1.0, 2.0], [0, 0], ["q", "q"], "no query has a relevant passage; give labels above 0"),
        ([1.0], [1, 0], ["q", "q"], "1 scores and 2 labels"),
        ([1.0, 2.0], [1, 0], ["q"], "2 labels and 1 groups"),
        ([], [], [], "no scores to judge"),
    ],
)
def test_bad_input_is_refused(scores, labels, groups, said):
    with pytest.raises(InputError, match=said):
        ranking_scores(scores, labels, groups)


def test_an_unknown_metric_is_refused():
    with pytest.raises(InputError, match="'mrr' is unknown here; take one of mrr@10, ndcg@10"):
        ranking_scores([1], [1], ["q"], "mrr")
