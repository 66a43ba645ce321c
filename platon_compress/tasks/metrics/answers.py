"""Answers to questions: exact match and F1 of words, as SQuAD 1.1 and 2.0 count them (Rajpurkar et al. 2016, 2018)."""

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np

from platon_compress.errors import InputError, shown
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics import METRICS
from platon_compress.tasks.metrics._checks import check_choice, same_length

__all__ = ["answer_scores", "normalised", "trivial_answers"]

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def answer_scores(
    predicted: Sequence[str],
    gold: Sequence[Sequence[str]],
    groups: Sequence[str] | None = None,
    metric: str = "f1",
) -> Scores:
    """f1 and exact_match of [n] answers against the gold answer that each comes nearest to.

    gold: the right answers to each question; none: the context has no answer, and "" is right. groups: the article of
    each question, the unit that is resampled; None, or one article alone: each question is a unit.
    Raises InputError for answers that are no texts and lengths that differ.
    """
    check_choice(metric, METRICS["question-answering"])
    same_length(predicted, "answers", gold, "lists of gold answers")
    values = _per_question(predicted, gold)
    places = _places(groups, predicted)
    units = int(places.max()) + 1
    sums = np.bincount(places, weights=values[metric])
    sizes = np.bincount(places)
    alone = units == len(places)
    return Scores(
        metric=metric,
        values={name: float(each.mean()) for name, each in values.items()},
        unit="question" if alone else "article",
        units=units,
        replicates=resampled(units, lambda chosen: float(sums[chosen].sum() / sizes[chosen].sum())),
        right=sums > 0 if alone and metric == "exact_match" else None,
    )


def trivial_answers(gold: Sequence[Sequence[str]], metric: str = "f1") -> float:
    """The metric of never giving an answer: the share of questions that have none."""
    check_choice(metric, METRICS["question-answering"])
    same_length(gold, "lists of gold answers", gold, "lists of gold answers")
    return float(_per_question([""] * len(gold), gold)[metric].mean())


def normalised(text: str) -> str:
    """Lower case, without punctuation and English articles, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def _per_question(predicted: Sequence[str], gold: Sequence[Sequence[str]]) -> dict[str, np.ndarray]:
    """Of every question its f1 and exact_match, float64 [n]."""
    values = np.array(
        [
            _best(answer, right, number)
            for number, (answer, right) in enumerate(zip(predicted, gold, strict=True))
        ]
    )
    return {"f1": values[:, 0], "exact_match": values[:, 1]}


def _best(answer: str, gold: Sequence[str], number: int) -> tuple[float, float]:
    """(F1, exact match) with the best of the gold answers."""
    if isinstance(gold, str) or not all(isinstance(text, str) for text in (answer, *gold)):
        raise InputError(
            f"question {number} has the answer {shown(answer)} and the gold answers {shown(gold)}; give a text and a "
            "list of texts"
        )
    ours = normalised(answer)
    # Gold answers of which nothing is left are none, as in SQuAD 2.0's own program.
    right = [text for text in map(normalised, gold) if text] or [""]
    return max(_overlap(ours.split(), text.split()) for text in right), float(ours in right)


def _overlap(ours: list[str], gold: list[str]) -> float:
    """F1 over words, each as often as it stands there; without words on one side, 1 where both have none."""
    if not ours or not gold:
        return float(ours == gold)
    common = sum((Counter(ours) & Counter(gold)).values())
    return 2 * common / (len(ours) + len(gold))


def _places(groups: Sequence[str] | None, predicted: Sequence[str]) -> np.ndarray:
    """The number of each question's unit, int64 [n]."""
    if groups is None:
        return np.arange(len(predicted))
    same_length(predicted, "answers", groups, "groups")
    places = np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]
    # The resamples of one article alone would all be the same, and any difference certain.
    return places if places.max() else np.arange(len(predicted))
