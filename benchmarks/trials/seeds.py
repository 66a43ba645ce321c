"""A row of the table from its cells: means over the seeds, and differences with an interval over units and seeds.

Rules:

1. All seeds answer the same units (rows, queries, articles), and the resamples depend on their number alone. So the mean
   over seeds of the difference on each resample is what the difference would be on other units; its variance is u.
   Where that is less than independent seeds would give by the paired error of each (McNemar's, where an answer is right
   or wrong), that one is taken: two models that agree on every unit are not equal for certain.
2. The variance of the seeds' differences over their number, s, is what other seeds would change.
3. The standard error is the root of u + s, an upper bound (what seeds and units do together is in both); the interval is
   Student's, with the degrees of freedom of Welch and Satterthwaite: those of u are without end, s has one less than
   seeds. One seed has no s: the interval is then over the units alone, which `seeds` says.
4. An interval that holds 0 is "undecided".
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import t as student

from platon_compress.errors import InputError
from platon_compress.scoring import Scores

__all__ = ["difference_over_seeds", "rows_apart", "rows_of"]

_WIDE = 4  # an interval of two standard errors on both sides


def difference_over_seeds(ours: Sequence[Scores], other: Sequence[Scores]) -> dict[str, Any]:
    """`ours` less `other`, seed by seed: {"value", "low", "high", "statement", "units_error", "seeds_error", "seeds"}.

    Raises InputError for seeds that answered different units, and for none.
    """
    if not ours or len({(s.metric, s.unit, s.units) for s in (*ours, *other)}) != 1:
        raise InputError(
            "the seeds of a row answered different examples; give all of them the same test rows"
        )
    pairs = list(zip(ours, other, strict=True))
    values = np.array([one.value - two.value for one, two in pairs])
    units = _units_variance(pairs)
    seeds = float(values.var(ddof=1)) / len(values) if len(values) > 1 else 0.0
    margin = _quantile(units, seeds, len(values)) * math.sqrt(units + seeds)
    value = float(values.mean())
    low, high = value - margin, value + margin
    return {
        "value": value,
        "low": low,
        "high": high,
        "statement": "higher" if low > 0 else "lower" if high < 0 else "undecided",
        "units_error": math.sqrt(units),
        "seeds_error": math.sqrt(seeds) if len(values) > 1 else None,
        "seeds": len(values),
    }


def _units_variance(pairs: Sequence[tuple[Scores, Scores]]) -> float:
    """Rule 1."""
    shared = np.mean([one.replicates - two.replicates for one, two in pairs], axis=0)
    apart = [one.minus(two) for one, two in pairs]
    errors = [(change.high - change.low) / _WIDE for change in apart]
    return max(float(np.var(shared, ddof=1)), float(np.mean(np.square(errors))) / len(pairs))


def _quantile(units: float, seeds: float, count: int) -> float:
    """Of Student's distribution for 95 %, rule 3."""
    freedom = (units + seeds) ** 2 * (count - 1) / seeds**2 if seeds else math.inf
    return float(student.ppf(0.975, freedom))


def rows_of(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A row for each (row, sparsity) of the cells, in their order."""
    return [_row(members) for members in _grouped(cells)]


def rows_apart(cells: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The difference between every two rows that differ in how they train and prune alone, over the seeds of both."""
    found = []
    for one, two in combinations(_grouped(cells), 2):
        pairs = [(a, b) for a in one for b in two if a["seed"] == b["seed"]]
        if one[0]["sparsity"] != two[0]["sparsity"] or _rest(one[0]) != _rest(two[0]) or not pairs:
            continue
        ours, other = (
            [Scores.from_dict(pair[i]["scores"]["compressed"]) for pair in pairs] for i in range(2)
        )
        names = {"row": one[0]["row"], "against": two[0]["row"], "sparsity": one[0]["sparsity"]}
        found.append({**names, **difference_over_seeds(ours, other)})
    return found


def _rest(cell: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe without the sections that say how a model trains, from whom it learns, and how it prunes."""
    training = ("train", "distill", "prune")
    return {name: section for name, section in cell["recipe"].items() if name not in training}


def _grouped(cells: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The seeds of each (row, sparsity)."""
    grouped: dict[tuple[str, float], list[Mapping[str, Any]]] = {}
    for cell in cells:
        grouped.setdefault((cell["row"], cell["sparsity"]), []).append(cell)
    return list(grouped.values())


def _row(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = cells[0]
    scored = [_all_scores(cell) for cell in cells]
    names = [name for name in scored[0] if all(name in each for each in scored)]
    by_name = {name: [Scores.from_dict(each[name]) for each in scored] for name in names}
    return {
        "row": first["row"],
        "sparsity": first["sparsity"],
        "seeds": [cell["seed"] for cell in cells],
        "task": first["task"],
        "metric": by_name["compressed"][0].metric,
        "unit": by_name["compressed"][0].unit,
        "units": by_name["compressed"][0].units,
        "steps": first["steps"],
        "trivial": None if first["trivial"] is None else float(np.mean([cell["trivial"] for cell in cells])),
        "values": {name: _mean_values(scores) for name, scores in by_name.items()},
        "differences": {
            name: difference_over_seeds(by_name["compressed"], scores)
            for name, scores in by_name.items()
            if name != "compressed"
        },
    }


def _all_scores(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Variant or control to its scores."""
    return {**cell["scores"], **{name: control["scores"] for name, control in cell["controls"].items()}}


def _mean_values(scores: Sequence[Scores]) -> dict[str, float]:
    """Of every metric."""
    return {name: float(np.mean([each.values[name] for each in scores])) for name in scores[0].values}
