"""Numbers against numbers: Pearson's and Spearman's correlation; also cosine similarities against gold scores."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics import METRICS
from platon_compress.tasks.metrics._checks import check_choice, numbers, same_length

__all__ = ["regression_scores", "spearman"]

_CHOICES = METRICS["text-classification/regression"]


def regression_scores(
    predicted: Sequence[float] | np.ndarray, targets: Sequence[float] | np.ndarray, metric: str = "spearman"
) -> Scores:
    """pearson and spearman of [n] and [n], as scipy's; 0 where one side is constant. The unit is a row.

    Raises InputError for NaN, lengths that differ and fewer than two rows.
    """
    check_choice(metric, _CHOICES)
    same_length(predicted, "predictions", targets, "targets")
    ours, theirs = numbers(predicted, "predictions"), numbers(targets, "targets")
    if len(ours) < 2:
        raise InputError("there is one row, and a correlation needs two; give more rows")
    statistic = (_pearson_of_rows if metric == "pearson" else _spearman_of_rows)(ours, theirs)
    return Scores(
        metric=metric,
        values={"spearman": spearman(ours, theirs), "pearson": _pearson(ours, theirs)},
        unit="row",
        units=len(ours),
        replicates=resampled(len(ours), statistic),
    )


def spearman(first: np.ndarray, second: np.ndarray) -> float:
    """scipy's, and 0 where one side is constant."""
    from scipy.stats import spearmanr

    return _quiet(spearmanr, first, second)


def _pearson(first: np.ndarray, second: np.ndarray) -> float:
    from scipy.stats import pearsonr

    return _quiet(pearsonr, first, second)


def _quiet(correlate: Callable[..., Any], first: np.ndarray, second: np.ndarray) -> float:
    if not (np.ptp(first) and np.ptp(second)):
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of values that are nearly constant
        value = float(correlate(first, second).statistic)
    return value if np.isfinite(value) else 0.0


def _pearson_of_rows(first: np.ndarray, second: np.ndarray) -> Callable[[np.ndarray], float]:
    # Centred and scaled, so that no square overflows.
    first, second = (
        (values - values.mean()) / max(float(np.abs(values - values.mean()).max()), np.finfo(float).tiny)
        for values in (first, second)
    )
    return lambda chosen: _correlation(first[chosen], second[chosen])


def _spearman_of_rows(first: np.ndarray, second: np.ndarray) -> Callable[[np.ndarray], float]:
    """Sorted once: the ranks of a resample follow from how often each value was drawn."""
    places = [np.unique(values, return_inverse=True)[1] for values in (first, second)]
    return lambda chosen: _correlation(*(_ranks(place[chosen]) for place in places))


def _ranks(places: np.ndarray) -> np.ndarray:
    """Mean ranks of values that are given by their places in order, [n]."""
    counts = np.bincount(places)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    if not (np.ptp(first) and np.ptp(second)):
        return 0.0
    first, second = first - first.mean(), second - second.mean()
    spread = float(np.sqrt(first @ first) * np.sqrt(second @ second))
    return float(first @ second) / spread if spread else 0.0
