"""Against scikit-learn: any number of classes per example."""

import itertools
import warnings

import numpy as np
import pytest
from sklearn import metrics

from platon_compress.errors import InputError
from platon_compress.scoring import resampled
from platon_compress.tasks.metrics.multilabel import multilabel_scores, trivial_multilabel


def _library(metric, chances, labels, threshold=0.5):
    if metric == "accuracy":
        return metrics.accuracy_score(labels, chances >= threshold)
    if metric == "average_precision":
        kept = labels.any(axis=0)
        return metrics.average_precision_score(labels[:, kept], chances[:, kept]) if kept.any() else 0.0
    average = metric.removeprefix("f1_")
    return metrics.f1_score(labels, chances >= threshold, average=average, zero_division=0)


def _answers(rows=14, classes=4, seed=1):
    """With ties, and a last class that has no positive example."""
    generator = np.random.default_rng(seed)
    labels = generator.random((rows, classes)) < 0.3
    labels[:, -1] = False
    chances = np.round(np.clip(0.4 * labels + 0.6 * generator.random(labels.shape), 0, 1), 1)
    return chances, labels


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "accuracy", "average_precision"])
@pytest.mark.parametrize("threshold", [0.3, 0.5])
@pytest.mark.usefixtures("few_resamples")
def test_values_and_every_resample_are_those_of_scikit_learn(metric, threshold):
    chances, labels = _answers()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = multilabel_scores(chances, labels, metric, threshold)
    assert scores.value == pytest.approx(_library(metric, chances, labels, threshold))
    expected = resampled(14, lambda chosen: _library(metric, chances[chosen], labels[chosen], threshold))
    assert scores.replicates == pytest.approx(expected)


def test_an_example_is_right_when_every_class_is():
    scores = multilabel_scores(
        np.array([[0.9, 0.1], [0.9, 0.9]]), np.array([[True, False], [True, False]]), "accuracy"
    )
    assert scores.right.tolist() == [True, False]
    assert scores.value == 0.5


def test_without_any_positive_every_metric_is_defined():
    scores = multilabel_scores(np.full((3, 2), 0.1), np.zeros((3, 2)), "average_precision")
    assert scores.value == 0
    assert not scores.replicates.any()
    assert scores.values["accuracy"] == 1


@pytest.mark.parametrize("metric", ["f1_micro", "f1_macro", "accuracy"])
@pytest.mark.parametrize("seed", range(5))
def test_no_constant_answer_is_better_than_the_trivial_one(metric, seed):
    labels = _answers(seed=seed)[1]
    answers = itertools.product((0.0, 1.0), repeat=labels.shape[1])
    best = max(_library(metric, np.broadcast_to(answer, labels.shape), labels) for answer in answers)
    assert trivial_multilabel(labels, metric) == pytest.approx(best)


def test_the_trivial_average_precision_is_the_share_of_positives():
    labels = _answers()[1]
    assert trivial_multilabel(labels, "average_precision") == pytest.approx(labels[:, :-1].mean())


@pytest.mark.parametrize(
    ("chances", "labels", "said"),
    [
        ([[0.1, 0.2]], [[0, 1], [1, 0]], "1 predictions and 2 labels"),
        ([[0.1, 0.2]], [[0, 1, 1]], "predictions have 2 classes, the labels 3"),
        ([[0.1, 1.2]], [[0, 1]], "from 0.1 to 1.2; give probabilities"),
        ([[0.1, float("nan")]], [[0, 1]], r"NaN or infinite, the first at \[0, 1\]"),
        ([[0.1, 0.2]], [[0, 2]], "other numbers than 0 and 1"),
        ([[0.1, 0.2], [0.1]], [[0, 1], [0, 1]], "rows of different lengths"),
        ([0.1], [0], r"shape \[1\]; give 2 dimension"),
        ([], [], "no predictions to judge"),
    ],
)
def test_bad_input_is_refused(chances, labels, said):
    with pytest.raises(InputError, match=said):
        multilabel_scores(chances, labels)


def test_no_examples_have_no_trivial_answer():
    with pytest.raises(InputError, match="no labels to judge"):
        trivial_multilabel(np.zeros((0, 3)))
