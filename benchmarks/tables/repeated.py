"""Rows that were trained again with other seeds: what the first training lost, the later ones, and what all say together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from tables.markdown import Table
from tables.quality import cells_of, difference_words
from trials.seeds import difference_over_seeds

from platon_compress.report.words import NONE, metric_name
from platon_compress.scoring import Scores, resampled

__all__ = ["repeated_tables"]

_HEAD = ("row", "again", "zeros", "metric", "change from", "first training", "later seeds", "later", "all")
_RIVALS = {"dense": "dense", "dense_int8": "dense int8", "taught": "same teacher"}


def repeated_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Table]]:
    """Title and table of each grid that repeats rows of others: changes, in points, from dense, from dense int8, and from
    the dense model trained as long by the same teacher, where both rows have it.

    The interval of all together is over examples and seeds. It needs the answers example by example, which results hold
    only where each is right or wrong.
    """
    for entry in results.values():
        if entry["kind"] == "quality" and (rows := list(_rows(entry, results))):
            yield f"{entry['title']}: changes in all trainings", Table(_HEAD, 5, rows)


def _rows(entry: Mapping[str, Any], results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for row in entry["rows"]:
        grid, _, name = row.get("repeats", "").partition("/")
        earlier = results.get(f"quality-{grid}", {"rows": ()})
        for first in earlier["rows"]:
            if (first["row"], first["sparsity"]) != (name, row["sparsity"]):
                continue
            cells = [*cells_of(earlier, first), *cells_of(entry, row)]
            for rival, words in _RIVALS.items():
                changes = [each["differences"].get(rival) for each in (first, row)]
                if None in changes:
                    continue
                before, after = map(difference_words, changes)
                zeros, metric = f"{row['sparsity']:.0%}", metric_name(row["metric"])
                seeds = ", ".join(map(str, row["seeds"]))
                together = _together(cells, rival)
                yield (name, str(row["row"]), zeros, metric, words, before, seeds, after, together)


def _together(cells: Sequence[Mapping[str, Any]], rival: str) -> str:
    pairs = [(cell["scores"]["compressed"], _scores(cell, rival)) for cell in cells]
    if any(content["right"] is None for pair in pairs for content in pair):
        return NONE
    ours, theirs = ([_restored(content) for content in side] for side in zip(*pairs, strict=True))
    return difference_words(difference_over_seeds(ours, theirs))


def _scores(cell: Mapping[str, Any], rival: str) -> Mapping[str, Any]:
    """Those of a file of the run, or of a control."""
    found: Mapping[str, Any] = cell["scores"].get(rival) or cell["controls"][rival]["scores"]
    return found


def _restored(content: Mapping[str, Any]) -> Scores:
    """Scores with the resamples that a result leaves out."""
    right = np.array([hit == "1" for hit in content["right"]])
    replicates = resampled(right.size, lambda chosen: float(right[chosen].mean()))
    return Scores.from_dict({**content, "replicates": replicates})
