"""The sparse kernels below this machine's ceilings, from a result of the kernel benchmark.

One panel per kernel set and thread count. Across: operations per byte loaded into registers, which the token count
fixes (more tokens share a weight's bytes). Up: useful GFLOP/s. The roof is the lower of the two measured ceilings:
loads from the first-level cache times operations per byte, and arithmetic on registers.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.measure.kernel_bench import bytes_loaded
from platon_compress.schemas import require_kind

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["write_roofline"]

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")  # Okabe and Ito
_MARKERS = ("o", "s", "^", "D", "v", "P")
_MARGIN = 1.6  # how far the axis goes beyond the points and the roof's edge

_CURE = "give the JSON of `bench kernel`"
_BELOW = 3.0  # room for the token counts below the points


def write_roofline(result: Mapping[str, Any], path: str | Path) -> None:
    """One PNG or SVG, by the path's ending. `result`: the benchmark's JSON. InputError when it is another file."""
    from matplotlib.figure import Figure

    require_kind(result, "kernels", "the result", _CURE)
    rows, ceilings = result.get("rows"), result.get("ceilings")
    if not rows or not ceilings:
        raise InputError(f"the result holds no rows or ceilings; {_CURE}")
    figure = Figure(figsize=(4.2 * len(ceilings) + 1.8, 4.2), layout="constrained")
    panels = figure.subplots(1, len(ceilings), sharex=True, sharey=True, squeeze=False)[0]
    densities = sorted({_density(row) for row in rows}, reverse=True)
    shapes = list(dict.fromkeys(_shape(row) for row in rows))
    colours = {density: _COLOURS[i % len(_COLOURS)] for i, density in enumerate(densities)}
    markers = {shape: _MARKERS[i % len(_MARKERS)] for i, shape in enumerate(shapes)}
    across, slowest = _across(rows, ceilings), min(row["useful_gflops"] for row in rows)
    for axes, ceiling in zip(panels, ceilings, strict=True):
        _draw_roof(axes, ceiling, across)
        own = [row for row in rows if all(row[key] == ceiling[key] for key in ("kernel", "threads"))]
        for row in own:
            style = {"color": colours[_density(row)], "marker": markers[_shape(row)]}
            axes.scatter(_intensity(row), row["useful_gflops"], s=26, alpha=0.85, linewidths=0, **style)
        _label_rows(axes, own, slowest / 1.2)
    panels[0].set(ylabel="useful GFLOP/s", ylim=(slowest / _BELOW, None))
    figure.legend(handles=_legend(colours, markers), loc="outside right center", frameon=False)
    figure.savefig(path, dpi=120)


def _intensity(row: Mapping[str, Any]) -> float:
    """Useful operations per byte loaded."""
    return 2 * row["nnz"] * row["rows"] / bytes_loaded(row["nnz"], row["rows"], row.get("block_rows", 1))


def _density(row: Mapping[str, Any]) -> float:
    """As asked for: drawn masks miss it by little."""
    return round(row["density"], 3)


def _shape(row: Mapping[str, Any]) -> str:
    return f"{row['out_features']} x {row['in_features']}"


def _across(rows: Sequence[Mapping[str, Any]], ceilings: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Where the roof is drawn: around all points and all its edges."""
    edges = [ceiling["fma_gflops"] / ceiling["load_gbytes_per_second"] for ceiling in ceilings]
    points = [_intensity(row) for row in rows]
    return np.geomspace(min(*points, *edges) / _MARGIN, max(*points, *edges) * _MARGIN, 200)


def _draw_roof(axes: "Axes", ceiling: Mapping[str, Any], across: np.ndarray) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    load, fma = ceiling["load_gbytes_per_second"], ceiling["fma_gflops"]
    axes.plot(across, np.minimum(fma, across * load), color="#333333", linewidth=1.5)
    axes.text(across[-1], fma * 1.06, f"arithmetic {fma:.0f} GFLOP/s", ha="right", fontsize=8)
    axes.text(across[0], across[0] * load * 0.8, f"loads {load:.0f} GB/s", va="top", fontsize=8)
    threads = ceiling["threads"]
    axes.set(
        title=f"{ceiling['kernel']}, {threads} thread{'s' if threads > 1 else ''}",
        xscale="log",
        yscale="log",
        xlabel="operations per byte loaded",
    )
    for axis, digits in ((axes.xaxis, (1, 2, 3, 4, 5, 7)), (axes.yaxis, (1, 2, 5))):
        axis.set_major_locator(LogLocator(subs=digits))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    axes.grid(visible=True, alpha=0.3)


def _label_rows(axes: "Axes", rows: Sequence[Mapping[str, Any]], below: float) -> None:
    """The row count, and blocks if any, under each column of points."""
    columns = {(row["rows"], row.get("block_rows", 1)): _intensity(row) for row in rows}
    for (count, block_rows), across in columns.items():
        text = f"{count} rows" + (f", {block_rows}x1" if block_rows > 1 else "")
        axes.text(across, below, text, rotation=90, ha="center", va="top", fontsize=8)


def _legend(colours: Mapping[float, str], markers: Mapping[str, str]) -> list[Any]:
    from matplotlib.lines import Line2D

    dots = [
        Line2D([], [], linestyle="", marker="o", color=colour, label=f"{1 - density:.0%} zeros")
        for density, colour in colours.items()
    ]
    forms = [
        Line2D([], [], linestyle="", marker=marker, color="#777777", label=f"{shape} (out x in)")
        for shape, marker in markers.items()
    ]
    return [*dots, *forms]
