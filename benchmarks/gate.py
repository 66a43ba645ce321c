"""Whether a new table of a grid is certainly worse than the committed one: exit status 1 where it is.

    python benchmarks/quality.py benchmarks/grids/tasks.yaml --collect
    python benchmarks/gate.py runs/studies/quality-tasks.json

For each row (and its sparsity) of the committed table:

- metric: what the compressed model loses against its own dense one. Worse where the new loss is larger by more than two
  standard errors of both tables together; an upper bound, because both are on the same rows.
- speed over dense, at every size that both measured: worse where the new interval of the median lies below the old one.
  Only on the same processor with as many threads; else it is said, and left out.
- file over dense: worse above 1.02 times the old share.

A row that is gone is worse too; new rows are named.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from math import hypot
from pathlib import Path
from typing import Any

from study import RESULTS, run_study, study_parser
from tables.quality import cells_of

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.files import read_json
from platon_compress.measure.bench_report import SettingReport
from platon_compress.schemas import require_kind

__all__ = ["compared", "main"]

_CURE = "collect the grid again"
_LARGER = 1.02
_ERRORS = 2.0
_Key = tuple[str, float]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    parser.add_argument("new", type=Path, help="a table that quality.py collected")
    parser.add_argument("--against", type=Path, help="default: that of the same name in benchmarks/results")
    return run_study(_lines, parser, arguments)


def _lines(options: argparse.Namespace) -> Iterator[str]:
    old = options.against or RESULTS / options.new.name
    worse = 0
    for is_worse, line in compared(_table(options.new), _table(old)):
        worse += is_worse
        yield f"{'WORSE ' if is_worse else 'ok    '} {line}"
    if worse:
        raise CheckFailedError(f"{options.new} is worse than {old} in {worse} places")


def compared(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    """What was compared, a line each, and whether it is worse. Raises InputError for tables of other shapes."""
    try:
        rows, before = _rows(new), _rows(old)
        alike = _machine(new) == _machine(old)
        for key in before:
            name = f"{key[0]} at {key[1]:.0%}"
            if key not in rows:
                yield True, f"{name} is gone"
                continue
            yield _metric(name, rows[key], before[key])
            cell, past = cells_of(new, rows[key])[0], cells_of(old, before[key])[0]
            yield _size(name, cell, past)
            yield from _speeds(name, cell, past) if alike else ()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"one of the two is no table of a grid ({error!r:.80}); {_CURE}") from error
    if not alike:
        yield False, "speeds are left out: another processor or another number of threads"
    yield from ((False, f"{key[0]} at {key[1]:.0%} is new") for key in rows if key not in before)


def _table(path: Path) -> Mapping[str, Any]:
    return require_kind(read_json(path, _CURE), "quality", str(path), _CURE)


def _rows(table: Mapping[str, Any]) -> dict[_Key, Mapping[str, Any]]:
    return {(str(row["row"]), float(row["sparsity"])): row for row in table["rows"]}


def _machine(table: Mapping[str, Any]) -> tuple[Any, Any]:
    environment = table["environment"]
    return environment.get("cpu_model"), environment.get("threads")


def _metric(name: str, row: Mapping[str, Any], before: Mapping[str, Any]) -> tuple[bool, str]:
    now, then = row["differences"]["dense"], before["differences"]["dense"]
    error = hypot(_error(now), _error(then))
    change = now["value"] - then["value"]
    told = f"{100 * now['value']:+.2f} points from dense, {100 * then['value']:+.2f} before"
    return change < -_ERRORS * error, f"{name}: {told} (standard error of the change {100 * error:.2f})"


def _error(change: Mapping[str, Any]) -> float:
    return hypot(change["units_error"], change["seeds_error"] or 0.0)


def _size(name: str, cell: Mapping[str, Any], past: Mapping[str, Any]) -> tuple[bool, str]:
    now, then = (
        each["sizes"]["compressed"]["disk_bytes"] / each["sizes"]["dense"]["disk_bytes"]
        for each in (cell, past)
    )
    return now > _LARGER * then, f"{name}: {now:.2f}x the size of dense, {then:.2f}x before"


def _speeds(name: str, cell: Mapping[str, Any], past: Mapping[str, Any]) -> Iterator[tuple[bool, str]]:
    now, then = _ratios(cell), _ratios(past)
    for size in then.keys() & now.keys():
        (value, low, high), (old, old_low, old_high) = now[size], then[size]
        told = f"{value:.2f}x ({low:.2f}-{high:.2f}) dense, {old:.2f}x ({old_low:.2f}-{old_high:.2f}) before"
        yield high < old_low, f"{name}, batch {size[0]}, {size[1] or 'fixed'} tokens: {told}"


def _ratios(cell: Mapping[str, Any]) -> dict[tuple[int, int | None], tuple[float, float, float]]:
    found = {}
    for setting in map(SettingReport.from_dict, cell["settings"]):
        ratio = setting.ratio("compressed", "dense")
        if ratio is not None and ratio.low is not None and ratio.high is not None:
            found[setting.batch, setting.tokens] = (ratio.median, ratio.low, ratio.high)
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
