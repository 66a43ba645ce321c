"""Any number of classes per example: F1, exact match, average precision."""

from collections.abc import Callable

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics import METRICS
from platon_compress.tasks.metrics._checks import check_choice, numbers, same_length, truths

__all__ = ["multilabel_scores", "trivial_multilabel"]

_CHOICES = METRICS["text-classification/multi-label"]


def multilabel_scores(
    probabilities: np.ndarray, labels: np.ndarray, metric: str = "f1_micro", threshold: float = 0.5
) -> Scores:
    """f1_micro, f1_macro, accuracy (every class of an example right) and average_precision, as scikit-learn's.

    probabilities: [n, classes], a class counts as answered from `threshold` on; labels: bool [n, classes].
    average_precision: mean over the classes that have a positive example, 0 without any. The unit is a row.
    Raises InputError for probabilities outside 0 to 1, labels that are not 0 or 1, shapes that differ.
    """
    check_choice(metric, _CHOICES)
    same_length(probabilities, "predictions", labels, "labels")
    chances, real = _probabilities(probabilities), truths(labels, "labels")
    if chances.shape != real.shape:
        raise InputError(
            f"the predictions have {chances.shape[1]} classes, the labels {real.shape[1]}; give both for the same"
        )
    called = chances >= threshold
    right = (called == real).all(axis=1)
    return Scores(
        metric=metric,
        values=_values(chances, called, real),
        unit="row",
        units=len(real),
        replicates=resampled(len(real), _statistic(metric, chances, called, real)),
        right=right if metric == "accuracy" else None,
    )


def trivial_multilabel(labels: np.ndarray, metric: str = "f1_micro") -> float:
    """The metric of the best answer that is always the same set of classes (the same probabilities)."""
    check_choice(metric, _CHOICES)
    real = truths(labels, "labels")
    same_length(real, "labels", real, "labels")
    rows, counts = len(real), real.sum(axis=0)
    if metric == "accuracy":
        return float(np.unique(real, axis=0, return_counts=True)[1].max() / rows)
    if metric == "f1_macro":  # each class has its own F1, best where it is always answered
        return float(_ratio(2 * counts, rows + counts).mean())
    if metric == "average_precision":
        return float(counts[counts > 0].mean() / rows) if counts.any() else 0.0
    largest = np.sort(counts)[::-1]
    called = rows * np.arange(1, len(counts) + 1)
    return float(_ratio(2 * np.cumsum(largest), called + counts.sum()).max())


def _probabilities(values: np.ndarray) -> np.ndarray:
    chances = numbers(values, "predictions", dimensions=2)
    if chances.min(initial=0) < 0 or chances.max(initial=0) > 1:
        raise InputError(
            f"predictions reach from {chances.min():g} to {chances.max():g}; give probabilities, 0 to 1"
        )
    return chances


def _values(chances: np.ndarray, called: np.ndarray, real: np.ndarray) -> dict[str, float]:
    from sklearn import metrics

    positive = real.any(axis=0)
    precision = 0.0
    if positive.any():
        precision = float(metrics.average_precision_score(real[:, positive], chances[:, positive]))
    return {
        "f1_micro": float(metrics.f1_score(real, called, average="micro", zero_division=0)),
        "f1_macro": float(metrics.f1_score(real, called, average="macro", zero_division=0)),
        "accuracy": float(metrics.accuracy_score(real, called)),
        "average_precision": precision,
    }


def _statistic(
    metric: str, chances: np.ndarray, called: np.ndarray, real: np.ndarray
) -> Callable[[np.ndarray], float]:
    """`metric` of the chosen rows."""
    if metric == "average_precision":
        return _average_precision(chances, real)
    if metric == "accuracy":
        right = (called == real).all(axis=1)
        return lambda chosen: float(right[chosen].mean())
    # Of each row and class: twice a hit, and how often the class stands on either side.
    hits, both = 2.0 * (called & real), called.astype(np.float64) + real
    if metric == "f1_micro":
        sums = np.stack([hits.sum(axis=1), both.sum(axis=1)])
        return lambda chosen: float(_ratio(*sums[:, chosen].sum(axis=1)))

    def macro(chosen: np.ndarray) -> float:
        times = np.bincount(chosen, minlength=len(real)).astype(np.float64)
        return float(_ratio(times @ hits, times @ both).mean())

    return macro


def _ratio(hits: np.ndarray, both: np.ndarray) -> np.ndarray:
    """F1; 0 where nothing stands on either side."""
    return np.where(both > 0, hits / np.maximum(both, 1), 0.0)


def _average_precision(chances: np.ndarray, real: np.ndarray) -> Callable[[np.ndarray], float]:
    """Sorted once: a resample only changes how often each row counts."""
    positive = real.any(axis=0)
    order = np.argsort(-chances[:, positive], axis=0, kind="stable")
    ranked = np.take_along_axis(chances[:, positive], order, axis=0)
    hits = np.take_along_axis(real[:, positive], order, axis=0)
    ends = _ends_of_ties(ranked)

    def statistic(chosen: np.ndarray) -> float:
        times = np.bincount(chosen, minlength=len(real))[order]
        found = times * hits
        above, hits_above = np.cumsum(times, axis=0), np.cumsum(found, axis=0)
        precision = np.take_along_axis(hits_above / np.maximum(above, 1), ends, axis=0)
        occurring = hits_above[-1] > 0
        each = (found * precision).sum(axis=0)[occurring] / hits_above[-1][occurring]
        return float(each.mean()) if each.size else 0.0

    return statistic if positive.any() else lambda _: 0.0


def _ends_of_ties(ranked: np.ndarray) -> np.ndarray:
    """For every place of each column the last place that has the same value: precision knows no order within."""
    rows = len(ranked)
    last = np.ones(ranked.shape, dtype=bool)
    last[:-1] = ranked[:-1] != ranked[1:]
    places = np.where(last, np.arange(rows)[:, None], rows)
    return np.minimum.accumulate(places[::-1], axis=0)[::-1]
