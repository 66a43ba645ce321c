"""Rows that were trained again with another seed: what each training lost, and what both say together."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
from tables.markdown import Table
from tables.quality import cells_of, difference_words
from trials.seeds import difference_over_seeds

from platon_compress.report.words import NONE, metric_name
from platon_compress.scoring import Scores, resampled

__all__ = ["repeated_tables"]

_HEAD = ("row", "again", "zeros", "metric", "first training", "second training", "both together")


def repeated_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Table]]:
    """Title and table of each grid that repeats rows of others: changes from dense, in points.

    The interval of both together is over examples and seeds; it needs the answers example by example, which results
    hold of accuracies alone.
    """
    for entry in results.values():
        if entry["kind"] == "quality" and (rows := list(_rows(entry, results))):
            yield f"{entry['title']}: change from dense in both trainings", Table(_HEAD, 4, rows)


def _rows(entry: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in entry["rows"]:
        grid, _, name = row.get("repeats", "").partition("/")
        earlier = results.get(f"quality-{grid}", {"rows": ()})
        for first in earlier["rows"]:
            if (first["row"], first["sparsity"]) == (name, row["sparsity"]):
                cells = [*cells_of(earlier, first), *cells_of(entry, row)]
                changes = [each["differences"]["dense"] for each in (first, row)]
                yield (
                    name,
                    str(row["row"]),
                    f"{row['sparsity']:.0%}",
                    metric_name(row["metric"]),
                    *map(difference_words, changes),
                    _together(cells),
                )


def _together(cells: Sequence[Mapping[str, Any]]) -> str:
    scores = [[_restored(cell["scores"][name]) for cell in cells] for name in ("compressed", "dense")]
    ours, dense = ([each for each in some if each is not None] for some in scores)
    if len(ours) + len(dense) < 2 * len(cells):
        return NONE
    return difference_words(difference_over_seeds(ours, dense))


def _restored(content: Mapping[str, Any]) -> Scores | None:
    """Scores with the resamples that a result leaves out; None where only the evaluation could make them."""
    if content["right"] is None or content["metric"] != "accuracy":
        return None
    return Scores.from_dict({**content, "replicates": _replicates(content["right"])})


@cache
def _replicates(right: str) -> list[float]:
    hits = np.array([hit == "1" for hit in right])
    return list(resampled(hits.size, lambda chosen: float(hits[chosen].mean())))
