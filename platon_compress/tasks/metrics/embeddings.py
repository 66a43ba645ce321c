"""How near a model's embeddings are to the dense model's: text by text, and in what they say about pairs."""

from collections.abc import Callable
from functools import partial

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics._checks import check_choice, numbers, same_length
from platon_compress.tasks.metrics.regression import spearman

__all__ = ["cosines", "fidelity", "trivial_fidelity"]

_PAIRS, _RESAMPLED_PAIRS = 10_000, 2_000
_CHOICES = ("fidelity", "similarity_spearman")
_SEED = 0


def fidelity(ours: np.ndarray, dense: np.ndarray, metric: str = "fidelity") -> Scores:
    """fidelity: mean cosine of each text's two embeddings, [texts, width] each. The unit is a text.

    similarity_spearman: whether both models order pairs of texts alike, over the same 10,000 pairs for all models (its
    resamples, where it is the `metric`: over 2,000).
    Raises InputError for NaN, shapes that differ and fewer than two texts.
    """
    same_length(ours, "embeddings", dense, "dense embeddings")
    own, theirs = _unit(ours, "embeddings"), _unit(dense, "dense embeddings")
    if own.shape != theirs.shape:
        raise InputError(
            f"the embeddings have {own.shape[1]} numbers, the dense model's {theirs.shape[1]}; compare models of one width"
        )
    if len(own) < 2:
        raise InputError("there is one text, and two models are compared on pairs of texts; give more texts")
    check_choice(metric, _CHOICES)
    each = np.einsum("td,td->t", own, theirs)
    alike = partial(_alike, own, theirs)
    statistic = partial(alike, _pairs(len(own), _RESAMPLED_PAIRS)) if metric != "fidelity" else _mean_of(each)
    return Scores(
        metric=metric,
        values={"fidelity": float(each.mean()), "similarity_spearman": alike(_pairs(len(own), _PAIRS))},
        unit="text",
        units=len(each),
        replicates=resampled(len(each), statistic),
    )


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], float]:
    return lambda chosen: float(values[chosen].mean())


def _alike(
    own: np.ndarray,
    theirs: np.ndarray,
    pairs: tuple[np.ndarray, np.ndarray],
    chosen: np.ndarray | None = None,
) -> float:
    """Spearman's correlation of both models' cosines of pairs, of chosen texts; a text with itself is no pair."""
    first, second = pairs if chosen is None else (chosen[places] for places in pairs)
    kept = first != second
    first, second = first[kept], second[kept]
    return spearman(*(np.einsum("td,td->t", vectors[first], vectors[second]) for vectors in (own, theirs)))


def trivial_fidelity(dense: np.ndarray) -> float:
    """The mean cosine of the best embedding that is the same for all texts."""
    return float(np.linalg.norm(_unit(dense, "dense embeddings").mean(axis=0)))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Of each pair of rows of two [n, width], float64 [n]; 0 with a vector of zeros."""
    same_length(first, "embeddings", second, "embeddings")
    return np.einsum("td,td->t", _unit(first, "embeddings"), _unit(second, "embeddings"))


def _unit(vectors: np.ndarray, what: str) -> np.ndarray:
    """Each of length 1, those of zeros as they are."""
    array = numbers(vectors, what, dimensions=2)
    lengths = np.linalg.norm(array, axis=1, keepdims=True)
    return array / np.where(lengths > 0, lengths, 1.0)


def _pairs(texts: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of two different texts, `count` times."""
    generator = np.random.default_rng(_SEED)
    first = generator.integers(0, texts, count)
    return first, (first + generator.integers(1, texts, count)) % texts
