"""Which metrics a task has, and what they are called."""

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.report.words import METRIC_NAMES, metric_name, metric_title
from platon_compress.tasks.metrics import METRICS, check_metric, metric_names
from platon_compress.tasks.metrics.answers import answer_scores
from platon_compress.tasks.metrics.classification import classification_scores
from platon_compress.tasks.metrics.embeddings import fidelity
from platon_compress.tasks.metrics.entities import entity_scores
from platon_compress.tasks.metrics.multilabel import multilabel_scores
from platon_compress.tasks.metrics.ranking import ranking_scores
from platon_compress.tasks.metrics.regression import regression_scores

_MARKS = np.array([[0.1, 0.9], [0.8, 0.2]])
_COMPUTED = {
    "text-classification": [classification_scores([0, 1, 1], [0, 1, 0], ["no", "yes"])],
    "text-classification/multi-label": [multilabel_scores(_MARKS, _MARKS > 0.5)],
    "text-classification/regression": [regression_scores([1, 2, 3], [1, 3, 2])],
    "token-classification": [entity_scores([["B-A"]], [["B-A"]])],
    "question-answering": [answer_scores(["x"], [["x"]])],
    "sentence-similarity": [regression_scores([1, 2], [1, 2]), fidelity(_MARKS, _MARKS)],
    "text-ranking": [ranking_scores([0.1, 0.2], [0, 1], ["q", "q"])],
    "image-classification": [classification_scores([0, 1, 1], [0, 1, 0], ["no", "yes"])],
}


@pytest.mark.parametrize("task", METRICS)
def test_every_metric_of_a_task_is_computed(task):
    assert {name for scores in _COMPUTED[task] for name in scores.values} == set(METRICS[task])
    assert _COMPUTED[task][0].metric == METRICS[task][0]


def test_every_metric_has_a_name_and_every_name_a_metric():
    assert set(METRIC_NAMES) == {name for names in METRICS.values() for name in names}


@pytest.mark.parametrize(
    ("task", "problem", "primary"),
    [
        ("text-classification", None, "accuracy"),
        ("text-classification", "single-label", "accuracy"),
        ("text-classification", "multi-label", "f1_micro"),
        ("text-classification", "regression", "spearman"),
        ("text-ranking", None, "mrr@10"),
        ("text-ranking", "regression", "mrr@10"),
    ],
)
def test_no_metric_means_the_primary_one(task, problem, primary):
    assert check_metric(task, None, problem) == primary


def test_before_the_problem_is_known_the_metric_of_each_may_be_named():
    assert set(metric_names("text-classification")) > {"matthews", "average_precision", "pearson"}
    assert metric_names("text-classification")[0] == "accuracy"
    assert "pearson" not in metric_names("text-classification", "single-label")


@pytest.mark.parametrize(
    ("task", "name", "problem", "said"),
    [
        ("text-ranking", "accuracy", None, "take one of mrr@10, ndcg@10, average_precision"),
        ("text-classification", "accuracy", "regression", r"\(regression\); take one of spearman, pearson"),
        (
            "text-classification",
            "F1",
            None,
            "'F1' does not go with text-classification; take one of accuracy",
        ),
        ("fill-mask", "accuracy", None, "task 'fill-mask'; take one of text-classification, token"),
    ],
)
def test_other_metrics_are_refused_with_the_choices(task, name, problem, said):
    with pytest.raises(InputError, match=said):
        check_metric(task, name, problem)


def test_names_are_said_as_people_say_them():
    assert metric_name("f1", "token-classification") == "entity F1"
    assert metric_name("f1", "question-answering") == "answer F1"
    assert metric_name("f1", "text-classification") == metric_name("f1") == "F1"
    assert metric_name("exact_match", "question-answering") == "exact match"
    assert metric_name("some_other") == "some other"
    titles = ("accuracy", "ndcg@10", "mrr@10", "f1_macro", "exact_match", "spearman")
    assert [metric_title(name) for name in titles] == [
        "Accuracy",
        "nDCG@10",
        "MRR@10",
        "Macro F1",
        "Exact match",
        "Spearman correlation",
    ]
