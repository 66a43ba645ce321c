"""Rows that were trained again with another seed: what each training lost, and what both say together."""

from collections.abc import Iterator, Mapping, Sequence
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

    The interval of both together is over examples and seeds. It needs the answers example by example, which results hold
    only where each is right or wrong.
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
                yield (
                    name,
                    str(row["row"]),
                    f"{row['sparsity']:.0%}",
                    metric_name(row["metric"]),
                    *(difference_words(each["differences"]["dense"]) for each in (first, row)),
                    _together([*cells_of(earlier, first), *cells_of(entry, row)]),
                )


def _together(cells: Sequence[Mapping[str, Any]]) -> str:
    ours, dense = ([cell["scores"][name] for cell in cells] for name in ("compressed", "dense"))
    if any(content["right"] is None for content in (*ours, *dense)):
        return NONE
    return difference_words(difference_over_seeds(list(map(_restored, ours)), list(map(_restored, dense))))


def _restored(content: Mapping[str, Any]) -> Scores:
    """Scores with the resamples that a result leaves out."""
    right = np.array([hit == "1" for hit in content["right"]])
    replicates = resampled(right.size, lambda chosen: float(right[chosen].mean()))
    return Scores.from_dict({**content, "replicates": replicates})
