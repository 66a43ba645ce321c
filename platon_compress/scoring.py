"""Task metrics that can be compared: values with what they would be on resampled examples.

Rules:

1. What is resampled is the unit that is independent of others: a row, a query with all its passages, an article with
   all its questions. Two models that answered the same units get the same resamples, so that their difference on each
   resample is a paired one.
2. The interval of a difference is the percentile bootstrap's (Efron and Tibshirani 1993, chapter 13), 1,000 resamples.
3. Where a unit is one example that is right or wrong, the standard error of the difference is McNemar's, with half an
   example added to each cell of its table (Agresti and Min 2005): the bootstrap of two models that agree on few
   examples would call them equal for certain.
4. No interval is certain because nothing was seen: where two models agree on every resample, or there are fewer than 10
   units to resample, it reaches at least 3 / units to both sides (the rule of three: of n units that show no difference
   up to 3 / n may still do, with 95 % confidence).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from platon_compress.errors import MISFITS, InputError

__all__ = [
    "RESAMPLES",
    "Batch",
    "Difference",
    "Evaluation",
    "Outputs",
    "Scores",
    "accuracy_evaluation",
    "as_evaluation",
    "batch_rows",
    "resampled",
]

RESAMPLES = 1000
_FEW_UNITS = 10

Batch = Mapping[str, np.ndarray]
"""Model inputs by name, each [batch, ...]."""

Outputs = Mapping[str, np.ndarray]
"""A model's answers to one batch, by name; a classifier's first one are its logits [batch, ..., classes]."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two metrics, as a fraction; `low` and `high` enclose it with about 95 % confidence.

    paired: taken on the same examples.
    """

    value: float
    low: float
    high: float
    paired: bool = False


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What a model reaches on some examples.

    metric: name of the primary one; values: every metric by name, as fractions (0.85 is 85 %).
    unit, units: what is resampled and how many of them there are.
    replicates: the primary metric on each resample, float64 [RESAMPLES].
    right: bool [units] where a unit is an example that is right or wrong, else None.
    """

    metric: str
    values: Mapping[str, float]
    unit: str
    units: int
    replicates: np.ndarray
    right: np.ndarray | None = None

    @property
    def value(self) -> float:
        """The primary metric."""
        return self.values[self.metric]

    @property
    def standard_error(self) -> float:
        """Of the primary metric: the spread over the resamples."""
        return float(np.std(self.replicates, ddof=1))

    def minus(self, other: "Scores") -> Difference:
        """Paired where both answered the same units; else from both standard errors, an upper bound."""
        value = self.value - other.value
        if (self.metric, self.unit, self.units) != (other.metric, other.unit, other.units):
            margin = 2 * math.hypot(self.standard_error, other.standard_error)
            return Difference(value=value, low=value - margin, high=value + margin)
        if self.right is not None and other.right is not None:
            margin = 2 * _mcnemar_error(self.right, other.right)
            return Difference(value=value, low=value - margin, high=value + margin, paired=True)
        low, high = map(float, np.percentile(self.replicates - other.replicates, (2.5, 97.5)))
        if self.units < _FEW_UNITS or low == high:
            margin = 3 / self.units
            low, high = min(low, value - margin), max(high, value + margin)
        return Difference(value=value, low=low, high=high, paired=True)

    def summary(self) -> dict[str, Any]:
        """The metrics without what is needed to compare them, JSON-able."""
        return {
            "metric": self.metric,
            "value": self.value,
            "values": dict(self.values),
            "standard_error": self.standard_error,
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form; `right` as one "1" or "0" a unit."""
        return {
            "metric": self.metric,
            "values": dict(self.values),
            "standard_error": self.standard_error,
            "unit": self.unit,
            "units": self.units,
            "replicates": [round(float(value), 6) for value in self.replicates],
            "right": None if self.right is None else "".join("1" if hit else "0" for hit in self.right),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Scores":
        """The inverse of :meth:`to_dict`. Raises InputError for anything else."""
        try:
            right = content["right"]
            scores = cls(
                metric=str(content["metric"]),
                values={str(name): float(value) for name, value in content["values"].items()},
                unit=str(content["unit"]),
                units=int(content["units"]),
                replicates=np.asarray(content["replicates"], dtype=np.float64),
                right=None if right is None else np.array([hit == "1" for hit in right], dtype=bool),
            )
            scores._check()
            return scores
        except MISFITS as error:
            raise InputError(f"these are no scores ({error!r:.120}); run that stage again") from error

    def _check(self) -> None:
        """Raises ValueError for what no evaluation gives."""
        numbers = (*self.values.values(), *self.replicates.flat)
        if self.replicates.ndim != 1 or not np.isfinite(numbers).all():
            raise ValueError("values and replicates are not all finite numbers")
        if self.metric not in self.values or self.units < 1:
            raise ValueError("no metric, or no units")
        if self.right is not None and len(self.right) != self.units:
            raise ValueError(f"{len(self.right)} units that are right or wrong, of {self.units}")


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Inputs with what turns a model's answers to them into metrics.

    score: takes the outputs of every batch, in order; None where nothing can be scored (no labels).
    trivial: the primary metric of an answer that does not look at its input (the largest class, no correlation).
    examples: how many there are as a person counts them; default: the rows of all batches.
    scale: the size of the outputs, where it is the data's (prices in thousands): differences are small or large by it.
    decisions: what a user reads of the outputs of every batch, in order (the class of each row, the tag of each word),
    each comparable with ==; None where that is the numbers themselves. decision: what one is, as in `report.words.UNITS`.
    least_agreement: the share of them that two right ways to run one file with 8-bit weights have in common.
    """

    batches: Sequence[Batch]
    score: Callable[[Sequence[Outputs]], Scores] | None = None
    trivial: float | None = None
    examples: int = 0
    scale: float = 1.0
    decisions: Callable[[Sequence[Outputs]], Sequence[Any] | np.ndarray] | None = None
    decision: str = "row"
    least_agreement: float = 0.995

    def __post_init__(self) -> None:
        if not self.examples:
            object.__setattr__(self, "examples", sum(map(batch_rows, self.batches)))


def as_evaluation(examples: Sequence[Batch] | Evaluation) -> Evaluation:
    """Bare batches as examples that nothing can be scored on."""
    return examples if isinstance(examples, Evaluation) else Evaluation(batches=examples)


def accuracy_evaluation(batches: Sequence[Batch], labels: Sequence[np.ndarray]) -> Evaluation:
    """Examples with class numbers [batch] for every batch, scored by the argmax of the first output.

    Raises InputError for labels that are not split as the batches are.
    """
    if [len(part) for part in labels] != list(map(batch_rows, batches)):
        raise InputError(
            f"labels must match the batches one by one, got {sum(map(len, labels))} labels for "
            f"{sum(map(batch_rows, batches))} examples; split them as the batches are split"
        )
    wanted = np.concatenate([np.ravel(part) for part in labels])

    def decisions(outputs: Sequence[Outputs]) -> np.ndarray:
        return np.concatenate([next(iter(out.values())).argmax(axis=-1) for out in outputs])

    def score(outputs: Sequence[Outputs]) -> Scores:
        right = decisions(outputs) == wanted
        return Scores(
            metric="accuracy",
            values={"accuracy": float(right.mean())},
            unit="row",
            units=right.size,
            replicates=resampled(right.size, lambda chosen: float(right[chosen].mean())),
            right=right,
        )

    _, counts = np.unique(wanted, return_counts=True)
    trivial = float(counts.max() / counts.sum())
    return Evaluation(batches=batches, score=score, trivial=trivial, decisions=decisions)


def batch_rows(batch: Batch) -> int:
    """How many examples it holds."""
    return len(next(iter(batch.values())))


def resampled(units: int, statistic: Callable[[np.ndarray], float]) -> np.ndarray:
    """`statistic` of the chosen unit numbers (int64 [units], with repeats) on every resample, float64 [RESAMPLES].

    The resamples depend on the number of units alone, so those of two models pair up.
    """
    return np.array([statistic(chosen) for chosen in _resamples(units)], dtype=np.float64)


def _resamples(units: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(units)
    for _ in range(RESAMPLES):
        yield generator.integers(0, units, units)


def _mcnemar_error(ours: np.ndarray, other: np.ndarray) -> float:
    """The standard error of the difference of two accuracies on the same examples."""
    won, lost = int((ours & ~other).sum()), int((other & ~ours).sum())
    count = len(ours) + 2
    return math.sqrt((won + lost + 1) - (won - lost) ** 2 / count) / count
