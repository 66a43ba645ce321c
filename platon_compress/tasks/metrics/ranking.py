"""Passages in order for each query: MRR@10, nDCG@10, average precision.

Rules:

1. Among passages of equal score those of less relevance come first. Candidates usually arrive with the relevant ones
   in front, so that input order would give a model that tells nothing apart the best mark.
2. A query without a relevant passage says nothing about the order, and is left out; `unjudged_queries` counts them.
3. The gain of a passage is its label (as in scikit-learn and trec_eval), not two to its power.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics import METRICS
from platon_compress.tasks.metrics._checks import check_choice, numbers, same_length

__all__ = ["ranking_scores", "trivial_ranking", "unjudged_queries"]

_CUT = 10


@dataclass(frozen=True)
class _Ranked:
    """Passages query after query, best score first. starts: where each query begins; ranks: from 1 within it."""

    labels: np.ndarray
    starts: np.ndarray
    ranks: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Of each query, [queries]."""
        return np.add.reduceat(values, self.starts)


def ranking_scores(
    scores: Sequence[float] | np.ndarray,
    labels: Sequence[float] | np.ndarray,
    groups: Sequence[Any] | np.ndarray,
    metric: str = "mrr@10",
) -> Scores:
    """mrr@10, ndcg@10 and average_precision, means over the queries. The unit is a query.

    scores, labels (0: not relevant; more: as relevant as that), groups (the query of each passage): [n].
    Raises InputError for NaN, labels below 0, lengths that differ, no query with a relevant passage.
    """
    check_choice(metric, METRICS["text-ranking"])
    same_length(scores, "scores", labels, "labels")
    queries, relevance = _judged(labels, groups)
    ranked = _ranked(numbers(scores, "scores"), relevance, queries)
    kept = ranked.sums(ranked.labels) > 0
    values = {name: statistic(ranked)[kept] for name, statistic in _STATISTICS.items()}
    return Scores(
        metric=metric,
        values={name: float(each.mean()) for name, each in values.items()},
        unit="query",
        units=int(kept.sum()),
        replicates=resampled(int(kept.sum()), lambda chosen: float(values[metric][chosen].mean())),
    )


def unjudged_queries(labels: Sequence[float] | np.ndarray, groups: Sequence[Any] | np.ndarray) -> int:
    """How many queries have no relevant passage."""
    queries, relevance = _judged(labels, groups)
    return int((np.bincount(queries, weights=relevance) == 0).sum())


def trivial_ranking(
    labels: Sequence[float] | np.ndarray, groups: Sequence[Any] | np.ndarray, metric: str = "mrr@10"
) -> float:
    """What the metric is on average over all orders of the passages, exactly."""
    check_choice(metric, METRICS["text-ranking"])
    queries, relevance = _judged(labels, groups)
    expected = _EXPECTED[metric]
    return float(np.mean([expected(each) for each in _split(queries, relevance) if each.any()]))


def _judged(labels: Any, groups: Any) -> tuple[np.ndarray, np.ndarray]:
    """The number of each passage's query, int64 [n], and its label."""
    same_length(labels, "labels", groups, "groups")
    relevance = numbers(labels, "labels")
    if relevance.min() < 0:
        raise InputError(
            f"label {relevance.min():g} is below 0; give 0 to passages that are not relevant, more to others"
        )
    if not relevance.any():
        raise InputError("no query has a relevant passage; give labels above 0 to those that answer it")
    return np.unique(np.asarray(groups), return_inverse=True)[1], relevance


def _split(queries: np.ndarray, labels: np.ndarray) -> Iterator[np.ndarray]:
    order = np.argsort(queries, kind="stable")
    yield from np.split(labels[order], np.cumsum(np.bincount(queries))[:-1])


def _ranked(scores: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> _Ranked:
    order = np.lexsort((labels, -scores, queries))
    sizes = np.bincount(queries)
    starts = np.cumsum(sizes) - sizes
    return _Ranked(labels[order], starts, np.arange(len(labels)) - np.repeat(starts, sizes) + 1)


def _reciprocal_rank(ranked: _Ranked) -> np.ndarray:
    """1 / the first relevant passage's rank, 0 beyond the cut; [queries]."""
    seen = np.where((ranked.labels > 0) & (ranked.ranks <= _CUT), 1 / ranked.ranks, 0.0)
    return np.maximum.reduceat(seen, ranked.starts)


def _ndcg(ranked: _Ranked) -> np.ndarray:
    """Gains by rank over those of the best order; [queries]."""
    sizes = np.diff(np.append(ranked.starts, len(ranked.labels)))
    queries = np.repeat(np.arange(len(sizes)), sizes)
    best = ranked.labels[np.lexsort((-ranked.labels, queries))]
    discounts = _discounts(ranked.ranks)
    ideal = ranked.sums(best * discounts)
    return ranked.sums(ranked.labels * discounts) / np.where(ideal > 0, ideal, 1.0)


def _discounts(ranks: np.ndarray) -> np.ndarray:
    return np.where(ranks <= _CUT, 1 / np.log2(ranks + 1), 0.0)


def _average_precision(ranked: _Ranked) -> np.ndarray:
    """Mean over the relevant passages of the share of relevant ones down to them; [queries]."""
    relevant = ranked.labels > 0
    seen = np.cumsum(relevant)
    before = seen[ranked.starts] - relevant[ranked.starts]
    sizes = np.diff(np.append(ranked.starts, len(relevant)))
    precision = (seen - np.repeat(before, sizes)) / ranked.ranks
    return ranked.sums(precision * relevant) / np.maximum(ranked.sums(relevant.astype(np.int64)), 1)


_STATISTICS: Mapping[str, Callable[[_Ranked], np.ndarray]] = {
    "mrr@10": _reciprocal_rank,
    "ndcg@10": _ndcg,
    "average_precision": _average_precision,
}


def _expected_reciprocal_rank(labels: np.ndarray) -> float:
    """Of m relevant among n passages: the first one is at r when r - 1 others were drawn before it."""
    passages, relevant = len(labels), int((labels > 0).sum())
    drawn = np.arange(min(_CUT, passages - relevant + 1))
    none_before = np.cumprod(np.append(1.0, (passages - relevant - drawn[:-1]) / (passages - drawn[:-1])))
    return float((none_before * relevant / (passages - drawn) / (drawn + 1)).sum())


def _expected_ndcg(labels: np.ndarray) -> float:
    """Every rank has the mean gain."""
    discounts = _discounts(np.arange(1, len(labels) + 1))
    return float(labels.mean() * discounts.sum() / (np.sort(labels)[::-1] @ discounts))


def _expected_average_precision(labels: np.ndarray) -> float:
    """Each place is equally likely for a relevant passage, and those before it hold their share of the others."""
    passages, relevant = len(labels), int((labels > 0).sum())
    ranks = np.arange(1, passages + 1)
    before = (ranks - 1) * (relevant - 1) / max(passages - 1, 1)
    return float(((1 + before) / ranks).mean())


_EXPECTED: Mapping[str, Callable[[np.ndarray], float]] = {
    "mrr@10": _expected_reciprocal_rank,
    "ndcg@10": _expected_ndcg,
    "average_precision": _expected_average_precision,
}
