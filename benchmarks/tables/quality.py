"""Tasks on real data: what compressed models reach beside dense, dense int8 and the controls."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tables.markdown import Table, counted, kernels, setting_label

from platon_compress.measure.bench_report import SettingReport
from platon_compress.measure.timing import PairedRatio
from platon_compress.recipe import PruneSection
from platon_compress.recipe.loading import PRESETS, load_recipe, shipped_recipe
from platon_compress.report.tables import format_ratio
from platon_compress.report.words import NONE, UNITS, metric_figure, metric_name

__all__ = [
    "QUALITY_NOTE",
    "TASK_NOTE",
    "Found",
    "cells_of",
    "control_speed",
    "difference_words",
    "in_8_bits",
    "quality_tables",
    "row_cells",
    "shown_setting",
    "task_table",
    "tried_table",
]

Found = tuple[Mapping[str, Any], Mapping[str, Any]]
_HEAD = (
    "task", "model", "data", "zeros", "metric", "dense", "dense int8", "compressed", "change from dense",
    "change from dense int8", "change from dense, same teacher", "change from every second layer",
    "change from every second layer, int8", "speed vs dense", "speed vs dense int8", "file vs dense",
    "controls",
)  # fmt: skip
_CONTROLS = {
    "trivial": "trivial answer",
    "untrained": "before training",
    "bm25": "BM25",
    "taught": "dense, same teacher",
    "every_second_layer": "dense with every second layer, same teacher",
    "every_second_layer_int8": "the same in int8",
}
QUALITY_NOTE = (
    "Metrics are in hundredths, averaged over the seeds, on rows that were not used to choose anything. Differences are in "
    "points, with a 95 % interval over examples (in the unit named) and over seeds where there are several; "
    '"undecided" means that it contains 0. "Same teacher" is the dense model trained just as long and by the same teacher '
    'as the pruned one; the control "trivial answer" ignores its input. Speed is for one text or picture, first seed. '
    "[benchmarks/trials/seeds.py](../benchmarks/trials/seeds.py) explains the intervals."
)
TASK_NOTE = (
    "Each column is a model; one with the settings of a preset, sometimes in fewer passes, names it. Metrics are in "
    "hundredths, differences in points with their 95 % interval. "
    "[All models, and how they were measured](../results.md#every-task-on-real-data)."
)


def quality_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, Table]]:
    """Title and table of each grid, the one of many tasks first; columns that say nothing of a grid are left out."""
    for entry in _entries(results):
        rows = [_row(row, cells_of(entry, row)) for row in entry["rows"]]
        told = _told(rows)
        columns = [tuple(line[i] for i in told) for line in (_HEAD, *rows)]
        yield entry["title"], Table(columns[0], 4, columns[1:])
        if (tried := tried_table(entry)) is not None:
            yield f"{entry['title']}: the validation rows", tried
        apart = entry.get("criteria", ())
        if certain := [pair for pair in apart if pair["statement"] != "undecided"]:
            left = counted(len(apart) - len(certain), "more pair")
            yield (
                f"{entry['title']}: rows certainly apart, in points ({left} undecided)",
                _apart_table(certain),
            )


def tried_table(entry: Mapping[str, Any]) -> Table | None:
    """Of a grid of several criteria at one sparsity: what each reached with each learning rate, tested or not.

    None for another grid, also for one whose trainings differ in more than criterion, learning rate and seed.
    """
    tried = list(entry.get("validation", {}).values())
    criteria = list(dict.fromkeys(cell["criterion"] for cell in tried))
    if len(criteria) < 2 or len({cell["sparsity"] for cell in tried}) > 1:
        return None
    if len({(cell["criterion"], cell["learning_rate"], cell["seed"]) for cell in tried}) < len(tried):
        return None
    rates = sorted({cell["learning_rate"] for cell in tried})
    head = ("criterion", *(f"learning rate {rate:g}" for rate in rates))
    return Table(head, 1, [(name, *(_reached(tried, name, rate) for rate in rates)) for name in criteria])


def _apart_table(apart: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of the grid that differ in how they train and prune alone, on examples that chose nothing."""
    head = ("row", "against", "zeros", "seeds of both", "points")
    rows = [
        (e["row"], e["against"], f"{e['sparsity']:.0%}", str(e["seeds"]), difference_words(e)) for e in apart
    ]
    return Table(head, 2, rows)


def _reached(tried: Sequence[Mapping[str, Any]], criterion: str, rate: float) -> str:
    """The mean over what differs otherwise: seeds."""
    found = [cell for cell in tried if (cell["criterion"], cell["learning_rate"]) == (criterion, rate)]
    if not found:
        return NONE
    return metric_figure(found[0]["metric"], sum(cell["value"] for cell in found) / len(found))


def task_table(found: Sequence[Found]) -> Table:
    """A column for each (grid, row), for a telephone."""
    rows = [_row(row, cells_of(entry, row)) for entry, row in found]
    lines = [(_HEAD[i], *(row[i] for row in rows)) for i in _told(rows) if i]
    place = _HEAD.index("metric")
    lines[place:place] = [
        ("preset", *(_preset(cells_of(*each)[0]["recipe"]) for each in found)),
        ("values", *("8 bits" if in_8_bits(cells_of(*each)[0]["recipe"]) else "float32" for each in found)),
        ("steps, dense and pruned", *(_steps(row) for _, row in found)),
        ("processor", *(kernels(entry) for entry, _ in found)),
    ]
    return Table(("", *(row[0] for row in rows)), 1 + len(rows), lines)


def _preset(recipe: Mapping[str, Any]) -> str:
    """The preset that prunes so; any number of passes."""
    prune = recipe["prune"]
    if not (in_8_bits(recipe) and prune.get("from_dense")):
        return NONE
    criterion = prune.get("criterion", PruneSection.model_fields["criterion"].default)
    return _presets().get((prune["sparsity"], criterion), NONE)


@functools.cache
def _presets() -> Mapping[tuple[float | None, str], str]:
    """By sparsity and criterion, in which they differ."""
    file = shipped_recipe("text-classification")
    sections = {name: load_recipe(file, preset=name).prune for name in PRESETS}
    return {(prune.sparsity, prune.criterion): name for name, prune in sections.items() if prune is not None}


def in_8_bits(recipe: Mapping[str, Any]) -> bool:
    """Whether a cell's file stores its sparse weights so."""
    return (recipe.get("plan") or {}).get("values") == "int8"


def _entries(results: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The grids, the one of many tasks first."""
    entries = [entry for entry in results.values() if entry["kind"] == "quality"]
    return sorted(entries, key=lambda entry: -len({row["task"] for row in entry["rows"]}))


def _told(rows: Sequence[Sequence[str]]) -> list[int]:
    """The columns that say something of a row."""
    return [i for i in range(len(_HEAD)) if any(row[i] not in ("", NONE) for row in rows)]


def cells_of(entry: Mapping[str, Any], row: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of a row, in the order of its seeds."""
    key = (row["row"], row["sparsity"])
    return [cell for cell in entry["cells"].values() if (cell["row"], cell["sparsity"]) == key]


def row_cells(entry: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, str]:
    """What the table says of a row of the grid, by column."""
    return dict(zip(_HEAD, _row(row, cells_of(entry, row)), strict=True))


def _row(row: Mapping[str, Any], cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    first, changes = cells[0], row["differences"]
    # Where nobody teaches with labels, the baseline itself is the dense model with the same teacher.
    teaches = (first["recipe"].get("distill") or {"labels": False}).get("labels", True)
    taught = changes.get("taught", None if teaches else changes["dense"])
    halved, halved_int8 = (changes.get(f"every_second_layer{form}") for form in ("", "_int8"))
    units, seeds = f"{row['units']:,} {UNITS.get(row['unit'], 'units')}", counted(len(row["seeds"]), "seed")
    return (
        str(row["row"]),
        str(row["model"]),
        str(row["data"]),
        _target(row, first),
        f"{metric_name(row['metric'])} ({units}, {seeds})",
        *(_metric(row, name) for name in ("dense", "dense_int8", "compressed")),
        *map(difference_words, (changes["dense"], changes.get("dense_int8"), taught, halved, halved_int8)),
        *(_speed(first, rival) for rival in ("dense", "dense_int8")),
        _file_share(first),
        "; ".join(_controls(row, first["controls"])),
    )


def _steps(row: Mapping[str, Any]) -> str:
    steps = row.get("steps") or {}
    return " and ".join(f"{steps[name]:,}" for name in ("dense", "prune") if name in steps) or NONE


def _target(row: Mapping[str, Any], cell: Mapping[str, Any]) -> str:
    """The share of zeros; of structured models, what they were pruned to."""
    speedup = cell["recipe"]["prune"].get("speedup")
    return f"{row['sparsity']:.0%}" if speedup is None else f"structured, {speedup:.3g}x"


def _metric(row: Mapping[str, Any], name: str) -> str:
    values = row["values"].get(name)
    if values is None:
        return NONE
    others = [
        f"{metric_name(other)} {metric_figure(other, values[other])}"
        for other in row["also"]
        if other in values
    ]
    return metric_figure(row["metric"], values[row["metric"]]) + (f" ({', '.join(others)})" if others else "")


def difference_words(change: Mapping[str, Any] | None) -> str:
    """`-0.8 (-1.9 to +0.3, undecided)`, in points."""
    if change is None:
        return NONE
    word = ", undecided" if change["statement"] == "undecided" else ""
    return f"{100 * change['value']:+.1f} ({100 * change['low']:+.1f} to {100 * change['high']:+.1f}{word})"


def _speed(cell: Mapping[str, Any], rival: str) -> str:
    shown = shown_setting(cell)
    ratio = None if shown is None else shown.ratio("compressed", rival)
    if shown is None or ratio is None:
        return NONE
    return f"{format_ratio(ratio)}, {setting_label(shown.batch, shown.tokens)}"


def shown_setting(cell: Mapping[str, Any]) -> SettingReport | None:
    """The smallest batch, with the most tokens that were measured; None where nothing was."""
    return SettingReport.from_dict(first) if (first := _first(cell["settings"])) else None


def _first(settings: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    return min(settings, key=lambda setting: (setting["batch"], -(setting["tokens"] or 0)), default=None)


def _file_share(cell: Mapping[str, Any]) -> str:
    sizes = cell["sizes"]
    if not {"compressed", "dense"} <= sizes.keys():
        return NONE
    return f"{sizes['compressed']['disk_bytes'] / sizes['dense']['disk_bytes']:.2f}x"


def _controls(row: Mapping[str, Any], measured: Mapping[str, Any]) -> Iterator[str]:
    values = {name: row["values"][name][row["metric"]] for name in _CONTROLS if name in row["values"]}
    if row["trivial"] is not None:
        values = {"trivial": row["trivial"], **values}
    for name, value in values.items():
        ratio = control_speed(measured.get(name, {}))
        speed = "" if ratio is None else f" at {format_ratio(ratio)} the speed of dense"
        yield f"{_CONTROLS[name]} {metric_figure(row['metric'], value)}{speed}"


def control_speed(control: Mapping[str, Any]) -> PairedRatio | None:
    """Over the dense model, where it was timed: at the same setting as in `shown_setting`."""
    first = _first(control.get("speeds", ()))
    return PairedRatio(**first["ratio"]) if first else None
