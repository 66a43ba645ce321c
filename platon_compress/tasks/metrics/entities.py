"""Named entities: precision, recall and F1 over whole entities, as seqeval defines them (its default mode)."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from platon_compress.errors import InputError, shown
from platon_compress.scoring import Scores, resampled
from platon_compress.tasks.metrics import METRICS
from platon_compress.tasks.metrics._checks import check_choice, same_length

__all__ = ["entity_scores"]

_TAG = re.compile(r"O|[BIES](-.+)?", re.DOTALL)
_CURE = "give BIO, IOB2 or IOBES tags (in BILOU, call L E and U S)"


def entity_scores(
    predicted: Sequence[Sequence[str]], gold: Sequence[Sequence[str]], metric: str = "f1"
) -> Scores:
    """f1, precision and recall of entities: an entity is right when its first word, last word and type are.

    predicted, gold: a tag for each word of each text. The unit is a text. Values without any entity are 0.
    Raises InputError for tags of another scheme and texts whose tags differ in number.
    """
    check_choice(metric, METRICS["token-classification"])
    same_length(predicted, "predicted texts", gold, "gold texts")
    _check_tags(tag for texts in (predicted, gold) for tags in texts for tag in tags)
    pairs = zip(predicted, gold, strict=True)
    counts = np.array([_counts(list(ours), list(real), number) for number, (ours, real) in enumerate(pairs)])
    return Scores(
        metric=metric,
        values={name: statistic(counts.sum(axis=0)) for name, statistic in _STATISTICS.items()},
        unit="text",
        units=len(counts),
        replicates=resampled(
            len(counts), lambda chosen: _STATISTICS[metric](counts.take(chosen, axis=0).sum(axis=0))
        ),
    )


def _check_tags(tags: Iterable[str]) -> None:
    for tag in dict.fromkeys(tags):
        if not isinstance(tag, str) or not _TAG.fullmatch(tag):
            raise InputError(f"{shown(tag)} is no tag of an entity; {_CURE}")


def _counts(predicted: list[str], gold: list[str], number: int) -> tuple[int, int, int]:
    """Entities of one text that are right, that were predicted, that there are."""
    from seqeval.metrics.sequence_labeling import get_entities

    if len(predicted) != len(gold):
        raise InputError(
            f"text {number} has {len(predicted)} predicted and {len(gold)} gold tags; give one for each word"
        )
    ours, real = set(get_entities(predicted)), set(get_entities(gold))
    return len(ours & real), len(ours), len(real)


_STATISTICS: Mapping[str, Callable[[np.ndarray], float]] = {
    "f1": lambda counts: _share(2 * counts[0], counts[1] + counts[2]),
    "precision": lambda counts: _share(counts[0], counts[1]),
    "recall": lambda counts: _share(counts[0], counts[2]),
}


def _share(part: int, whole: int) -> float:
    return float(part / whole) if whole else 0.0
