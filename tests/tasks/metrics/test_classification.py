"""Against scikit-learn: one class per example."""

import warnings

import numpy as np
import pytest
from sklearn import metrics

from platon_compress.errors import InputError
from platon_compress.scoring import resampled
from platon_compress.tasks.metrics.classification import classification_scores, trivial_classification

NAMES = {2: ["no", "yes"], 5: list("abcde")}


def _library(metric, labels, predicted):
    if metric == "accuracy":
        return metrics.accuracy_score(labels, predicted)
    if metric == "matthews":
        return metrics.matthews_corrcoef(labels, predicted)
    if metric == "f1":
        return metrics.f1_score(labels, predicted, labels=[1], average="macro", zero_division=0)
    return metrics.f1_score(labels, predicted, average=metric.removeprefix("f1_"), zero_division=0)


def _answers(classes, rows=40, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, rows)
    return np.where(generator.random(rows) < 0.6, labels, generator.integers(0, classes, rows)), labels


@pytest.mark.parametrize(
    ("metric", "classes"),
    [("f1", 2)] + [(m, c) for m in ("accuracy", "f1_macro", "f1_micro", "matthews") for c in NAMES],
)
@pytest.mark.usefixtures("few_resamples")
def test_values_and_every_resample_are_those_of_scikit_learn(metric, classes):
    # Twelve rows of five classes: some resamples lack a class.
    predicted, labels = _answers(classes, rows=12)
    scores = classification_scores(predicted, labels, NAMES[classes], metric)
    assert scores.value == pytest.approx(_library(metric, labels, predicted))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = resampled(12, lambda chosen: _library(metric, labels[chosen], predicted[chosen]))
    assert scores.replicates == pytest.approx(expected)


def test_rows_that_are_right_are_kept_where_the_metric_is_their_share():
    predicted, labels = [0, 1, 1, 0], [0, 1, 0, 0]
    assert classification_scores(predicted, labels, NAMES[2]).right.tolist() == [True, True, False, True]
    assert classification_scores(predicted, labels, NAMES[2], "f1").right is None


def test_f1_is_that_of_the_second_class():
    # Class 1: two right of three called and two real.
    scores = classification_scores([1, 1, 1, 0], [1, 1, 0, 0], NAMES[2], "f1")
    assert scores.value == pytest.approx(2 * 2 / (3 + 2))
    assert "f1" not in classification_scores([0, 1, 2], [0, 1, 2], list("abc")).values


@pytest.mark.parametrize("metric", ["f1", "f1_macro", "matthews"])
def test_constant_answers_say_nothing_and_warn_of_nothing(metric):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = classification_scores([0] * 6, [0, 0, 0, 1, 1, 0], NAMES[2], metric)
        nothing = classification_scores([0] * 3, [0] * 3, NAMES[2], "f1")
    assert np.isfinite(scores.replicates).all()
    assert scores.values["f1"] == scores.values["matthews"] == nothing.value == 0


@pytest.mark.parametrize(
    ("metric", "value"),
    [("accuracy", 0.7), ("f1_micro", 0.7), ("f1", 2 * 3 / 13), ("f1_macro", 14 / 17 / 2), ("matthews", 0)],
)
def test_the_trivial_answer_is_the_best_constant_one(metric, value):
    labels = [0] * 7 + [1] * 3
    assert trivial_classification(labels, NAMES[2], metric) == pytest.approx(value)


@pytest.mark.parametrize(
    ("predicted", "labels", "names", "metric", "said"),
    [
        ([0, 1], [0], NAMES[2], "accuracy", "2 predictions and 1 labels; give one for each"),
        ([], [], NAMES[2], "accuracy", "no predictions to judge; give at least one"),
        ([0, 2], [0, 1], NAMES[2], "accuracy", r"predictions\[1\] is 2; give numbers of classes, 0 to 1"),
        ([0, 1], [0, -100], NAMES[2], "accuracy", r"labels\[1\] is -100"),
        ([0, 0.5], [0, 1], NAMES[2], "accuracy", r"predictions\[1\] is 0.5"),
        (
            [0, np.nan],
            [0, 1],
            NAMES[2],
            "accuracy",
            r"1 of the 2 predictions are NaN .* first at \[1\]; look",
        ),
        (["yes", "no"], [0, 1], NAMES[2], "accuracy", "predictions are no numbers"),
        ([[0, 1]], [0], NAMES[2], "accuracy", r"shape \[1, 2\]; give 1 dimension"),
        ([0], [0], ["only"], "accuracy", "one class, .*'only'.* give two or more"),
        ([0], [0], NAMES[5], "f1", "f1 is for two classes, there are 5; take f1_macro or f1_micro"),
        ([0], [0], NAMES[2], "auc", "'auc' is unknown here; take one of accuracy, f1"),
    ],
)
def test_bad_input_is_refused(predicted, labels, names, metric, said):
    with pytest.raises(InputError, match=said):
        classification_scores(predicted, labels, names, metric)
