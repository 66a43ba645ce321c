"""Task metrics that can be compared: values with what they would be on resampled examples.

Rules:

1. What is resampled is the unit that is independent of others: a row, a query with all its passages, an article with
   all its questions. Two models that answered the same units get the same resamples, so that their difference on each
   resample is a paired one.
2. The interval of a difference is the percentile bootstrap's (Efron and Tibshirani 1993, chapter 13), 1,000 resamples.
3. Where a unit is one example that is right or wrong, the standard error of the difference is McNemar's, with half an
   example added to each cell of its table (Agresti and Min 2005): the bootstrap of two models that agree on few
   examples would call them equal for certain.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from platon_compress.errors import InputError

__all__ = ["RESAMPLES", "Difference", "Evaluation", "Scores", "resampled"]

RESAMPLES = 1000

Batch = Mapping[str, np.ndarray]
Outputs = Mapping[str, np.ndarray]


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
        low, high = np.percentile(self.replicates - other.replicates, (2.5, 97.5))
        return Difference(value=value, low=float(low), high=float(high), paired=True)

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
            return cls(
                metric=str(content["metric"]),
                values={str(name): float(value) for name, value in content["values"].items()},
                unit=str(content["unit"]),
                units=int(content["units"]),
                replicates=np.asarray(content["replicates"], dtype=np.float64),
                right=None if right is None else np.array([hit == "1" for hit in right]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"these are no scores ({error!r}); run that stage again") from error


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Inputs with everything that turns a model's answers to them into metrics.

    batches: model inputs by name, each [batch, ...]. score: takes the outputs of every batch, in order.
    metric: the primary one's name. trivial: what it is without looking at the inputs (the largest class, no
    correlation), None where that says nothing. examples: how many there are, as a person counts them.
    """

    batches: Sequence[Batch]
    score: Callable[[Sequence[Outputs]], Scores]
    metric: str
    examples: int
    trivial: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


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
