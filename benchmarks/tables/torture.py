"""How many runs were killed in which stage, how damaged folders ended, and runs in bad surroundings."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from tables.markdown import Table

from platon_compress.report.words import NONE

__all__ = ["torture_tables"]

_HEAD = (
    "command",
    "kills",
    "in stages done again",
    "runs that went on from there",
    "ended, all bits the same",
    "damaged folders",
    "refused in one line",
    "went on",
)
_COUNTS = ("repeated", "continued", "finished", "mutations", "refused", "went_on")
_AROUND = ("surroundings", "ended, all bits the same", "ended in one line")


def torture_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """Counts by command, kills by stage, surroundings; of all results together."""
    entries = [entry for entry in results.values() if entry["kind"] == "torture"]
    rows = _by_title(row for entry in entries for row in entry["rows"])
    around = [row for entry in entries for row in entry["surroundings"]]
    if rows:
        yield Table(_HEAD, 1, [_counts(row) for row in rows])
        stages = tuple(dict.fromkeys(stage for row in rows for stage in row["stages"]))
        by_stage = [
            (row["title"], *(str(row["stages"].get(stage, NONE)) for stage in stages)) for row in rows
        ]
        yield Table(("kills by stage", *stages), 1, by_stage)
    if around:
        yield Table(_AROUND, 1, [_ends(row) for row in around])


def _by_title(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those of one command added up; those with the most stages first, as the columns come."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        title = row["title"].replace("`", "")
        sums = found.setdefault(title, {"title": title, "stages": {}, **dict.fromkeys(_COUNTS, 0)})
        for name in _COUNTS:
            sums[name] += row[name]
        for stage, kills in row["stages"].items():
            sums["stages"][stage] = sums["stages"].get(stage, 0) + kills
    return sorted(found.values(), key=lambda sums: -len(sums["stages"]))


def _counts(row: Mapping[str, Any]) -> tuple[str, ...]:
    kills = sum(row["stages"].values())
    return (row["title"], str(kills), *(str(row[name]) for name in _COUNTS))


def _ends(row: Mapping[str, Any]) -> tuple[str, ...]:
    title = row["title"].replace("`", "")
    if row["finished"] is None:
        return title, "not possible here", NONE
    return title, str(row["finished"]), str(row["refused"])
