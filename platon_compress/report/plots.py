"""The report's figures: layers, latency, size, training."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from platon_compress.measure.bench_report import BenchReport, SettingReport
from platon_compress.measure.timing import percentiles
from platon_compress.report.plot_style import COLOURS, FORM_COLOURS, MUTED, TEXT, Plot, draw
from platon_compress.report.words import (
    FORMS,
    SHORT_FORMS,
    SHORT_VARIANTS,
    VARIANTS,
    metric_figure,
    metric_name,
)

__all__ = ["latency_plot", "layer_plot", "size_plot", "split_layer_name", "training_plot"]

_MEGABYTE = 1e6


def layer_plot(layers: Sequence[Mapping[str, Any]]) -> Plot | None:
    """One cell per weight: block by block downwards, the weights of a block from left to right."""
    if not layers:
        return None
    cells = {split_layer_name(layer["name"]): layer for layer in layers}
    rows = list(dict.fromkeys(row for row, _ in cells))
    columns = list(dict.fromkeys(column for _, column in cells))
    counts = {form: sum(layer["form"] == form for layer in layers) for form in FORMS}
    said = ", ".join(f"{count} {form}" for form, count in counts.items() if count)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        for (row, column), layer in cells.items():
            _paint_cell(axes, columns.index(column), rows.index(row), layer, narrow)
        names = [_wrap(name) for name in _short_names(columns)]
        _label_grid(axes, [_last_number(row) for row in rows] if narrow else rows, names, narrow)
        handles = [Patch(color=FORM_COLOURS[f], label=label) for f, label in FORMS.items() if counts[f]]
        figure.legend(handles=handles, loc="outside lower left", ncols=1 if narrow else 3)

    return draw(
        "layers",
        paint,
        height=1.25 + 0.42 * len(rows),
        narrow_height=2.3 + 0.42 * len(rows),
        alt=f"Share of weights kept and form chosen for each of {len(layers)} layers: {said}.",
        caption="Bar length: share of non-zero weights. Colour: form chosen by the plan.",
    )


def split_layer_name(name: str) -> tuple[str, str]:
    """("encoder.layer.3", "output.dense") of "encoder.layer.3.output.dense.weight"; "" without a number."""
    name = name.removesuffix(".weight")
    found = re.match(r"^(.*?\.\d+)\.(.+)$", name)
    return (found.group(1), found.group(2)) if found else ("", name)


def latency_plot(bench: BenchReport) -> Plot | None:
    """Per setting: median (bar), 95th percentile (whisker), every sample (dots), speed against the baseline."""
    if not bench.settings:
        return None
    wide_columns = 1 if len(bench.settings) == 1 else 2
    wide_rows = math.ceil(len(bench.settings) / wide_columns)

    def paint(figure: Figure, narrow: bool) -> None:
        rows, columns = (len(bench.settings), 1) if narrow else (wide_rows, wide_columns)
        panels = np.atleast_1d(figure.subplots(rows, columns, squeeze=False)).ravel()
        for axes, setting in zip(panels, bench.settings, strict=False):
            _paint_setting(axes, setting, bench.baseline, SHORT_VARIANTS if narrow else VARIANTS)
        for axes in panels[len(bench.settings) :]:
            axes.set_axis_off()

    names = "; ".join(_spoken(setting, bench.baseline) for setting in bench.settings)
    return draw(
        "latency",
        paint,
        height=wide_rows * 2.1,
        narrow_height=len(bench.settings) * 2.1,
        alt=f"Latency by variant. {names}.",
        caption="Bar: median. Whisker: 95th percentile. Dots: every run. Factor: median of the pairwise speed "
        f"ratios against {VARIANTS[bench.baseline]}.",
    )


def size_plot(bench: BenchReport) -> Plot | None:
    """Stored bytes per variant, encoder and embeddings apart, one behind the other."""
    sizes = {name: variant.size for name, variant in bench.variants.items() if variant.size is not None}
    if not sizes:
        return None

    def paint(figure: Figure, narrow: bool) -> None:
        labels = SHORT_VARIANTS if narrow else VARIANTS
        axes = figure.add_subplot()
        for place, (name, size) in enumerate(sizes.items()):
            encoder, embeddings = size.encoder_bytes / _MEGABYTE, size.embedding_bytes / _MEGABYTE
            axes.barh(place, encoder, color=COLOURS[name], height=0.6)
            axes.barh(place, embeddings, left=encoder, color=COLOURS[name], height=0.6, alpha=0.35)
            _beside(axes, place, f"{size.disk_bytes / _MEGABYTE:.3g} MB", bold=name == "compressed")
        _finish_bars(axes, [labels[name] for name in sizes], "MB", axes.get_xlim()[1])
        figure.legend(handles=_size_legend(), loc="outside lower left", ncols=2)

    spoken = "; ".join(f"{VARIANTS[n]} {s.disk_bytes / _MEGABYTE:.3g} MB" for n, s in sizes.items())
    return draw(
        "size",
        paint,
        height=0.95 + 0.42 * len(sizes),
        alt=f"Size on disk: {spoken}.",
        caption="Strong: encoder and head. Light: embeddings.",
    )


def training_plot(
    dense: Mapping[str, Any], pruned: Mapping[str, Any], task: str | None = None
) -> Plot | None:
    """Loss, task metric and sparsity over the steps of the two trainings; None without a history.

    With a speed-up as the target the schedule counts time, and only the other line counts zeros.
    """
    runs = {"dense": dense.get("history") or [], "compressed": pruned.get("history") or []}
    metric = str(pruned.get("metric") or dense.get("metric") or "accuracy")
    timed = pruned.get("granularity") == "structured"
    zeros, schedule = ("share of zeros", "share of time removed") if timed else ("sparsity", "sparsity")
    rows = [("loss", "training loss"), (metric, metric_name(metric, task)), ("achieved_sparsity", zeros)]
    rows = [row for row in rows if any(_series(history, row[0])[0] for history in runs.values())]
    if not rows:
        return None

    def paint(figure: Figure, narrow: bool) -> None:
        del narrow
        panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False).ravel()
        for axes, (key, title) in zip(panels, rows, strict=True):
            axes.set_title(title)
            for name, history in runs.items():
                _paint_history(axes, history, key, name)
        panels[0].legend(loc="upper right", ncols=2)
        panels[-1].set_xlabel("optimiser step")

    final = _series(runs["compressed"], metric)[1] or _series(runs["dense"], metric)[1]
    said = f" Last {metric_name(metric, task)} {metric_figure(metric, final[-1])}." if final else ""
    return draw(
        "training",
        paint,
        height=0.5 + 1.55 * len(rows),
        alt=f"{', '.join(title for _, title in rows)} over the training steps, dense and pruned.{said}",
        caption=f"Both trainings see the same data in the same order. Wide grey line: scheduled {schedule}.",
    )


def _paint_cell(axes: Axes, x: int, y: int, layer: Mapping[str, Any], narrow: bool) -> None:
    colour = FORM_COLOURS.get(layer["form"], MUTED)
    width = 0.92
    axes.add_patch(Rectangle((x, y), width, 0.86, facecolor=colour, alpha=0.13, linewidth=0))
    axes.add_patch(
        Rectangle((x, y + 0.58), width * float(layer["density"]), 0.28, facecolor=colour, linewidth=0)
    )
    form = SHORT_FORMS.get(str(layer["form"]), str(layer["form"]))
    if narrow:
        axes.text(x + 0.03, y + 0.3, f"{layer['density']:.0%} {form}", va="center", fontsize=6.5)
        return
    axes.text(x + 0.04, y + 0.3, f"{layer['density']:.0%}", va="center", fontsize=8.5)
    axes.text(x + width - 0.04, y + 0.3, form, va="center", ha="right", fontsize=7.5, color=MUTED)


def _last_number(row: str) -> str:
    """The block's number: a phone has no room for its path."""
    found = re.search(r"(\d+)$", row)
    return found.group(1) if found else row


def _label_grid(axes: Axes, rows: Sequence[str], columns: Sequence[str], narrow: bool) -> None:
    axes.set_xlim(0, len(columns))
    axes.set_ylim(len(rows), 0)
    angle = 60 if narrow else 0
    places = [x + 0.46 for x in range(len(columns))]
    axes.set_xticks(places, columns, fontsize=8.5, color=TEXT, rotation=angle)
    axes.set_yticks([y + 0.43 for y in range(len(rows))], rows, fontsize=8.5)
    axes.xaxis.tick_top()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


def _short_names(names: Sequence[str]) -> list[str]:
    """The shortest dotted endings that no other name shares."""
    short = []
    for name in names:
        parts = name.split(".")
        endings = [".".join(parts[-count:]) for count in range(1, len(parts) + 1)]
        others = [other for other in names if other != name]
        alone = (e for e in endings if not any(o == e or o.endswith(f".{e}") for o in others))
        short.append(next(alone, name))
    return short


def _wrap(name: str) -> str:
    head, _, last = name.rpartition(".")
    return f"{head}.\n{last}" if head else name


def _paint_setting(axes: Axes, setting: SettingReport, baseline: str, labels: Mapping[str, str]) -> None:
    summaries = {name: percentiles(samples.warm_seconds) for name, samples in setting.samples.items()}
    for place, (name, summary) in enumerate(summaries.items()):
        median, high = summary["p50_seconds"] * 1e3, summary["p95_seconds"] * 1e3
        runs = np.asarray(setting.samples[name].warm_seconds) * 1e3
        axes.barh(place, median, color=COLOURS[name], height=0.62, alpha=0.9)
        spread = np.linspace(-0.24, 0.24, len(runs))  # by round: a drift during the run shows as a slope
        axes.scatter(runs, place + spread, s=3.5, color=TEXT, alpha=0.35, linewidths=0)
        axes.plot([median, high], [place, place], color=TEXT, linewidth=1.1)
        axes.plot([high, high], [place - 0.16, place + 0.16], color=TEXT, linewidth=1.1)
        ratio = setting.ratio(name, baseline)
        factor = "" if ratio is None else f"{ratio.median:.2f}x"
        _beside(axes, place, f"{_three(median)} ms", factor, bold=name == "compressed")
    axes.set_title(setting.label)
    longest = max(max(setting.samples[name].warm_seconds) for name in summaries) * 1e3
    _finish_bars(axes, [labels[name] for name in summaries], "ms", 1.03 * longest)


def _beside(axes: Axes, place: int, *texts: str, bold: bool = False) -> None:
    """Texts in columns to the right of the axes, where no bar or sample can run into them."""
    for column, text in enumerate(texts):
        axes.annotate(
            text,
            (1.0, place),
            (8 + 54 * column, 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            weight="bold" if bold else "normal",
            annotation_clip=False,
        )


def _three(value: float) -> str:
    """Three digits without an exponent."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _finish_bars(axes: Axes, labels: Sequence[str], unit: str, limit: float) -> None:
    axes.set_yticks(range(len(labels)), labels, color=TEXT)
    axes.invert_yaxis()
    axes.set_xlim(0, limit)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(unit)
    axes.spines["left"].set_visible(False)


def _size_legend() -> list[Any]:
    return [
        Patch(color=COLOURS["dense"], label="encoder and head"),
        Patch(color=COLOURS["dense"], alpha=0.35, label="embeddings"),
    ]


def _spoken(setting: SettingReport, baseline: str) -> str:
    said = []
    for name, samples in setting.samples.items():
        ratio = setting.ratio(name, baseline)
        factor = f", {ratio.median:.2f} times the speed of {VARIANTS[baseline]}" if ratio else ""
        said.append(f"{VARIANTS[name]} {_three(samples.median_seconds * 1e3)} ms{factor}")
    return f"{setting.label}: {'; '.join(said)}"


def _paint_history(axes: Axes, history: Sequence[Mapping[str, Any]], key: str, name: str) -> None:
    steps, values = _series(history, key)
    if not steps:
        return
    if key not in ("loss", "achieved_sparsity"):
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    if key == "achieved_sparsity":
        axes.plot(*_series(history, "sparsity"), color=MUTED, linewidth=6, alpha=0.3, solid_capstyle="butt")
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    label = "dense" if name == "dense" else "pruned"
    marker = "o" if len(steps) <= 25 else ""
    axes.plot(steps, values, color=COLOURS[name], label=label, marker=marker, markersize=3.5, linewidth=1.6)


def _series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    entries = [e for e in history if isinstance(e.get(key), int | float) and "step" in e]
    return [entry["step"] for entry in entries], [entry[key] for entry in entries]
