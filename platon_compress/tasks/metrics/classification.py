"""One class per example: accuracy, F1, Matthews' correlation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics import METRICS
from platon_compress.tasks.metrics._checks import check_choice, class_numbers, same_length

__all__ = ["classification_scores", "trivial_classification"]

_PER_ROW = ("accuracy", "f1_micro")  # the same number: each example gets one class


@dataclass(frozen=True)
class _Counts:
    """Per class, int64 [classes]: examples that are it and were called it, that were called it, that are it."""

    hits: np.ndarray
    called: np.ndarray
    real: np.ndarray

    @classmethod
    def of(cls, predicted: np.ndarray, labels: np.ndarray, classes: int) -> "_Counts":
        right = labels[predicted == labels]
        return cls(*(np.bincount(values, minlength=classes) for values in (right, predicted, labels)))


def classification_scores(
    predicted: Sequence[int] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    metric: str = "accuracy",
) -> Scores:
    """accuracy, f1 (of the second class, with two classes), f1_macro, f1_micro and matthews, as scikit-learn's.

    predicted, labels: numbers of the classes `names`, [n]. f1_macro: over the classes that occur. The unit is a row.
    Raises InputError for numbers that are no classes, lengths that differ, fewer than two classes.
    """
    predicted, labels = _checked(predicted, labels, names, metric)
    statistic, classes = _STATISTICS[metric], len(names)
    return Scores(
        metric=metric,
        values=_values(predicted, labels, classes),
        unit="row",
        units=len(labels),
        replicates=resampled(
            len(labels),
            lambda chosen: statistic(_Counts.of(predicted[chosen], labels[chosen], classes)),
        ),
        right=predicted == labels if metric in _PER_ROW else None,
    )


def trivial_classification(
    labels: Sequence[int] | np.ndarray, names: Sequence[str], metric: str = "accuracy"
) -> float:
    """The metric of the best answer that is always the same class."""
    _, labels = _checked(labels, labels, names, metric)
    constants = (np.full_like(labels, answer) for answer in np.unique(labels))
    return max(_STATISTICS[metric](_Counts.of(constant, labels, len(names))) for constant in constants)


def _checked(
    predicted: Sequence[int] | np.ndarray,
    labels: Sequence[int] | np.ndarray,
    names: Sequence[str],
    metric: str,
) -> tuple[np.ndarray, np.ndarray]:
    classes = len(names)
    if classes < 2:
        raise InputError(f"there is one class, {list(names)!r}, so nothing can go wrong; give two or more")
    check_choice(metric, METRICS["text-classification"])
    if metric == "f1" and classes > 2:
        raise InputError(f"f1 is for two classes, there are {classes}; take f1_macro or f1_micro")
    same_length(predicted, "predictions", labels, "labels")
    return class_numbers(predicted, "predictions", classes), class_numbers(labels, "labels", classes)


def _values(predicted: np.ndarray, labels: np.ndarray, classes: int) -> dict[str, float]:
    from sklearn import metrics

    def f1(average: str, **more: list[int]) -> float:
        return float(metrics.f1_score(labels, predicted, average=average, zero_division=0, **more))

    values = {"accuracy": float(metrics.accuracy_score(labels, predicted))}
    if classes == 2:
        values["f1"] = f1("macro", labels=[1])
    matthews = 0.0  # scikit-learn's value of constant answers, which it warns of
    if np.ptp(predicted) and np.ptp(labels):
        matthews = float(metrics.matthews_corrcoef(labels, predicted))
    return {**values, "f1_macro": f1("macro"), "f1_micro": f1("micro"), "matthews": matthews}


def _accuracy(counts: _Counts) -> float:
    return float(counts.hits.sum() / counts.real.sum())


def _f1_per_class(counts: _Counts) -> np.ndarray:
    """float64 [classes]; NaN where a class neither is nor was called."""
    both = counts.called + counts.real
    return np.divide(2 * counts.hits, both, out=np.full(len(both), np.nan), where=both > 0)


def _f1(counts: _Counts) -> float:
    return float(np.nan_to_num(_f1_per_class(counts)[1]))


def _f1_macro(counts: _Counts) -> float:
    return float(np.nanmean(_f1_per_class(counts)))


def _matthews(counts: _Counts) -> float:
    """The correlation of K classes (Gorodkin 2004); 0 where either side is constant."""
    rows = float(counts.real.sum())
    called, real = counts.called.astype(np.float64), counts.real.astype(np.float64)
    spread = np.sqrt(rows**2 - called @ called) * np.sqrt(rows**2 - real @ real)
    return float((counts.hits.sum() * rows - called @ real) / spread) if spread else 0.0


_STATISTICS: Mapping[str, Callable[[_Counts], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "f1_macro": _f1_macro,
    "f1_micro": _accuracy,
    "matthews": _matthews,
}
