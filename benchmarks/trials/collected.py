"""A grid's result: what is finished below the runs, and what an earlier result holds of the cells that are not.

Trainings take hours and their folders stay on the machine that ran them, so a grid is filled over days and machines. A row
of the earlier result stays as it was measured while the grid still asks for the same cells. Intervals over seeds need the
resamples of each, which only cell.json holds, so a row comes whole from here or whole from there.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trials.cell import asked_for, finished, trained
from trials.grid import Cell, Grid, Setup
from trials.seeds import rows_apart, rows_of

from platon_compress.errors import InputError

__all__ = ["collected"]


def collected(
    grid: Grid, cells: Sequence[Cell], setup: Setup, earlier: Mapping[str, Any] | None
) -> tuple[dict[str, Any], list[str]]:
    """The content of the result, and a line for each of `cells` that was not finished here.

    `earlier` is the result that this one replaces. Raises InputError where nothing is finished, here or there.
    """
    done = {cell.name: content for cell in cells if (content := finished(grid, cell, setup))}
    tried = {cell.name: content for cell in cells if (content := trained(grid, cell, setup))}
    kept = _kept(grid, earlier or {}, {_key(content) for content in done.values()})
    rows = [*rows_of(list(done.values())), *kept["rows"]]
    if not rows:
        raise InputError(f"no cell of {grid.name} is finished below {setup.runs}; run the grid first")
    order = {(cell.row_name, cell.sparsity): place for place, cell in enumerate(grid.cells())}
    rows.sort(key=lambda row: order[_key(row)])
    said = [
        f"{cell.name}: {'kept from the earlier result' if cell.name in kept['cells'] else 'left out, it is not finished'}"
        for cell in cells
        if cell.name not in done
    ]
    content = {
        "environment": _environment(done or kept["cells"]),
        "rows": [{**row, **_shown(grid, row["row"])} for row in rows],
        "validation": _in_order(grid, {**kept["validation"], **tried}),
        "criteria": [*rows_apart(list(done.values())), *kept["criteria"]],
        "cells": _in_order(grid, {**kept["cells"], **_smaller(done)}),
    }
    return content, said


def _kept(grid: Grid, earlier: Mapping[str, Any], replaced: set[tuple[str, float]]) -> dict[str, Any]:
    """The part of an earlier result that the grid still asks for and that is not `replaced`."""
    there = {cell.name: cell for cell in grid.cells()}
    current = {
        name: content
        for name, content in earlier.get("cells", {}).items()
        if name in there and asked_for(there[name], content) and _key(content) not in replaced
    }
    rows = [row for row in earlier.get("rows", []) if _whole(row, current)]
    keys = {_key(row) for row in rows}
    names = {name for name, content in current.items() if _key(content) in keys}
    gone = earlier.get("cells", {}).keys() - names
    return {
        "rows": rows,
        "cells": {name: content for name, content in current.items() if name in names},
        "validation": {
            name: value for name, value in earlier.get("validation", {}).items()
            if name in there and name not in gone
        },
        "criteria": [
            pair for pair in earlier.get("criteria", [])
            if {_key(pair), (pair["against"], pair["sparsity"])} <= keys
        ],
    }  # fmt: skip


def _whole(row: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every seed of `row` is among `cells`."""
    seeds = {content["seed"] for content in cells.values() if _key(content) == _key(row)}
    return set(row["seeds"]) == seeds


def _key(content: Mapping[str, Any]) -> tuple[str, float]:
    return content["row"], content["sparsity"]


def _shown(grid: Grid, name: str) -> dict[str, Any]:
    row = grid.rows[name]
    shown = {"model": row.model, "data": row.data, "also": list(row.also), "controls": list(row.controls)}
    return shown if row.repeats is None else {**shown, "repeats": row.repeats}


def _in_order(grid: Grid, contents: Mapping[str, Any]) -> dict[str, Any]:
    names: Iterable[str] = (cell.name for cell in grid.cells())
    return {name: contents[name] for name in names if name in contents}


def _smaller(value: Any) -> Any:
    """Without the resamples: the intervals are made, and cell.json keeps them."""
    if isinstance(value, Mapping):
        return {key: _smaller(inner) for key, inner in value.items() if key != "replicates"}
    return value


def _environment(done: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The first cell's, or that of one from a checkout with local changes: no such cell is to be committed."""
    environments = [cell["environment"] for cell in done.values()]
    changed = (each for each in environments if (each.get("git") or {}).get("dirty"))
    return next(changed, environments[0])
