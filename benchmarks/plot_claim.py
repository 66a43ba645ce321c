"""The claim in one picture: for each task what is lost against how much faster the file is, beside dense rivals.

    python benchmarks/plot_claim.py

Drawn from the committed results: the grids (quality-*.json) and the same runs with 8-bit values (rounded.json). One panel
a dense model: what was compared with the same one, by task, rows and metric, stands together. Across the speed over dense,
up the points from dense on the same rows, with their 95 % interval where one was taken. A line joins what nothing of its
own side is both faster and better than, ours and the dense rivals apart; what something is, is pale. The share of zeros
stands once, at the fastest of the line.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study import RESULTS, run_study, study_parser
from tables.quality import cells_of, control_speed, in_8_bits, shown_setting, tried_table

from platon_compress.errors import InputError
from platon_compress.files import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Point", "front", "main", "points_of"]

_INT8, _HALF, _HALF_INT8 = "dense int8", "dense, every second layer", "int8, every second layer"
_FLOAT, _EIGHT, _STRUCTURED = "compressed", "compressed, 8 bits", "structured, stock runtime"
_RIVALS = {_INT8: "dense_int8", _HALF: "every_second_layer", _HALF_INT8: "every_second_layer_int8"}
_LOOK = {
    _INT8: ("D", "#e69f00"),
    _HALF: ("v", "#e69f00"),
    _HALF_INT8: ("<", "#e69f00"),
    _FLOAT: ("^", "#0072b2"),
    _EIGHT: ("o", "#009e73"),
    _STRUCTURED: ("s", "#cc79a7"),
}
_COLUMNS, _GREY, _OURS, _PALE, _SAME = 3, "#777777", "#009e73", 0.35, 0.005
_CURE = "collect the grids again"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One file. judged: task, metric and units; dense: the metric of dense; title: of its panel, None: it begins none.

    speed: times dense; change: points from dense; low, high: its 95 % interval, None where none was taken.
    """

    judged: tuple[str, str, int]
    dense: float
    title: str | None
    kind: str
    label: str
    speed: float
    change: float
    low: float | None = None
    high: float | None = None


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--picture", type=Path, default=None, help="default: claim.png in that folder")
    return run_study(_lines, parser, arguments)


def _lines(options: argparse.Namespace) -> Iterator[str]:
    results = [read_json(path, _CURE) for path in sorted(options.results.glob("*.json"))]
    try:
        points = [point for result in results for point in points_of(result)]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise InputError(f"{options.results} holds a damaged result ({error!r:.80}); {_CURE}") from error
    if not points:
        raise InputError(f"{options.results} holds no quality-*.json; {_CURE}")
    picture = options.picture or options.results / "claim.png"
    _draw(points, picture)
    yield f"written: {picture}"


def points_of(result: Mapping[str, Any]) -> Iterator[Point]:
    """Those of a grid with VNNI or of runs with 8-bit values; none of other results, nor of grids that compare criteria."""
    if result.get("kind") == "quality" and _with_vnni(result) and tried_table(result) is None:
        for row in result["rows"]:
            yield from _of_row(row, cells_of(result, row)[0])
    elif result.get("kind") == "rounded":
        for row in result["rows"]:
            yield from _of_rounded(row)


def _with_vnni(result: Mapping[str, Any]) -> bool:
    """As most were measured; speeds of two processors do not belong in one picture."""
    return result.get("environment", {}).get("isa") != "avx2"


def _of_row(row: Mapping[str, Any], cell: Mapping[str, Any]) -> Iterator[Point]:
    """Dense rivals and the compressed file at the smallest batch."""
    setting = shown_setting(cell)
    if setting is None:
        return
    recipe, metric = cell["recipe"], row["metric"]
    values = {name: value[metric] for name, value in row["values"].items()}
    place: dict[str, Any] = {
        "judged": (row["task"], metric, row["units"]),
        "dense": values["dense"],
        "title": f"{row['model']}: {row['data'].partition(', ')[0]}",
    }
    ours, rival = setting.ratio("compressed", "dense"), setting.ratio("compressed", "dense_int8")
    speeds = {name: control_speed(control) for name, control in cell["controls"].items()}
    rivals = {name: ratio.median for name, ratio in speeds.items() if ratio is not None}
    if ours is not None and rival is not None:
        rivals["dense_int8"] = ours.median / rival.median
    for kind, name in _RIVALS.items():
        if name in rivals and name in values:
            change = 100 * (values[name] - values["dense"])
            yield Point(**place, kind=kind, label="", speed=rivals[name], change=change)
    if ours is not None:
        structured = recipe["prune"].get("granularity") == "structured"
        change = row["differences"]["dense"]
        yield Point(
            **place,
            kind=_STRUCTURED if structured else _EIGHT if in_8_bits(recipe) else _FLOAT,
            label=f"{row['sparsity']:.0%}" if not structured else "",
            speed=ours.median,
            change=100 * change["value"],
            low=100 * change["low"],
            high=100 * change["high"],
        )


def _of_rounded(row: Mapping[str, Any]) -> Iterator[Point]:
    pairs = {(each["candidate"], each["baseline"]): each for each in row["ratios"]}
    dense = row["values"]["dense"]
    yield Point(
        judged=(row["task"], row["metric"], row["units"]),
        dense=dense,
        title=None,
        kind=_EIGHT,
        label=f"{row['sparsity']:.0%}",
        speed=pairs["compressed", "dense"]["median"],
        change=100 * (row["values"]["int8"] - dense),
    )


def front(points: Sequence[Point]) -> list[Point]:
    """Those that no other is as fast and better, or as good and faster than; the fastest first."""
    found: list[Point] = []
    for point in sorted(points, key=lambda each: (-each.speed, -each.change)):
        if not found or point.change > found[-1].change:
            found.append(point)
    return found


def _draw(points: Sequence[Point], picture: Path) -> None:
    from matplotlib.figure import Figure

    panels = _panels(points)
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(4.0 * _COLUMNS, 3.1 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes, panel in zip(grid, panels, strict=False):
        _paint(axes, panel)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    handles = {
        label: handle
        for axes in grid
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=5, frameon=False)
    for number, axes in enumerate(grid[: len(panels)]):
        axes.set_ylabel("points from dense" if number % _COLUMNS == 0 else "", fontsize=8.5)
        axes.set_xlabel("times the speed of dense" if number + _COLUMNS >= len(panels) else "", fontsize=8.5)
    figure.savefig(picture, dpi=110)


def _panels(points: Sequence[Point]) -> list[list[Point]]:
    """Points with one dense model: judged alike, and less than _SAME from one of them, since runs train it anew."""
    panels: list[list[Point]] = []
    for point in sorted(points, key=lambda each: each.title is None):
        own = (
            panel
            for panel in panels
            if any(other.judged == point.judged and abs(other.dense - point.dense) < _SAME for other in panel)
        )
        if (panel := next(own, None)) is not None:
            panel.append(point)
        elif point.title is not None:
            panels.append([point])
    return panels


def _paint(axes: "Axes", points: Sequence[Point]) -> None:
    axes.set_title(points[0].title or "", fontsize=8.5, loc="left")
    axes.axhline(0, color=_GREY, linewidth=0.6)
    axes.scatter([1], [0], marker="X", color="#333333", label="dense", zorder=3)
    ours = front([point for point in points if point.kind not in _RIVALS])
    rivals = front([point for point in points if point.kind in _RIVALS])
    _join(axes, [(point.speed, point.change) for point in ours], _OURS, "-")
    _join(axes, [*((point.speed, point.change) for point in rivals), (1.0, 0.0)], _LOOK[_INT8][1], "--")
    fastest = {point.label: point for point in reversed(ours)}
    for point in sorted(points, key=lambda each: list(_LOOK).index(each.kind)):
        _mark(axes, point, 1.0 if point in ours or point.kind in _RIVALS else _PALE)
        if fastest.get(point.label) is point:
            axes.annotate(
                point.label,
                (point.speed, point.change),
                xytext=(5, 4),
                textcoords="offset points",
                fontsize=7.5,
            )
    axes.margins(x=0.15, y=0.2)
    axes.set_xlim(left=0)  # last: it fixes the other end too
    axes.tick_params(labelsize=8)


def _join(axes: "Axes", places: Sequence[tuple[float, float]], colour: str, style: str) -> None:
    x, y = zip(*places, strict=True) if places else ((), ())
    axes.plot(x, y, color=colour, linestyle=style, linewidth=0.8, alpha=0.7)


def _mark(axes: "Axes", point: Point, alpha: float) -> None:
    """The point and its interval; the legend takes one of each kind, a full one where there is one."""
    marker, colour = _LOOK[point.kind]
    axes.scatter(
        [point.speed], [point.change], marker=marker, color=colour, alpha=alpha, zorder=3, linewidths=0,
        label=point.kind if alpha == 1 else None,
    )  # fmt: skip
    if point.low is not None and point.high is not None:
        axes.plot([point.speed] * 2, [point.low, point.high], color=colour, linewidth=1, alpha=0.6 * alpha)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
