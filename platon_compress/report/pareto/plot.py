"""The picture: metric against latency, and against size; the line joins what nothing beats."""

from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from platon_compress.report.pareto.candidates import Candidate
from platon_compress.report.pareto.front import undominated
from platon_compress.report.pareto.members import Member
from platon_compress.report.plot_style import COLOURS, MUTED, TEXT, Plot, draw
from platon_compress.report.words import RIVALS, SHORT_VARIANTS, VARIANTS, metric_figure, metric_title

__all__ = ["pareto_plot"]

_MARKS = {
    "dense": "s", "dense_int8": "D", "compressed_float32": "^", "compressed": "o",
    "openvino": "X", "openvino_int8": "P", "every_second_layer": "v",
    "every_second_layer_int8": "<",
}  # fmt: skip
# Rivals have the colour of what they are, and a mark of their own.
_COLOURS = {**COLOURS, "openvino": COLOURS["dense"], "openvino_int8": COLOURS["dense_int8"]}
_COLOURS |= {"every_second_layer": COLOURS["dense"], "every_second_layer_int8": COLOURS["dense_int8"]}
_COSTS: dict[str, Callable[[Candidate], float]] = {
    "latency, ms": lambda c: c.seconds * 1e3,
    "size on disk, MB": lambda c: c.disk_bytes / 1e6,
}
_MEMBER_COSTS: dict[str, Callable[[Member], float | None]] = {
    "latency, ms": lambda m: None if m.seconds is None else m.seconds * 1e3,
    "size on disk, MB": lambda m: None if m.disk_bytes is None else m.disk_bytes / 1e6,
}
_MEMBER, _PREDICTED = "member, selection split", "member, latency predicted"


def pareto_plot(
    candidates: Sequence[Candidate], members: Sequence[Member], metric: str, task: str | None
) -> Plot:
    """Two panels, side by side on a page and one above the other on a phone."""

    def paint(figure: Figure, narrow: bool) -> None:
        panels = figure.subplots(*((2, 1) if narrow else (1, 2)), squeeze=False).ravel()
        for axes, (title, cost) in zip(panels, _COSTS.items(), strict=True):
            _paint(axes, candidates, cost)
            _paint_members(axes, members, _MEMBER_COSTS[title], predicted=title.startswith("latency"))
            axes.margins(x=0.12, y=0.15)
            axes.set_xlim(left=0)  # last: it fixes the other end too
            axes.set_xlabel(title)
            axes.set_ylabel(metric_title(metric, task))
        names: dict[Any, str] = {**(SHORT_VARIANTS if narrow else VARIANTS), **RIVALS}
        handles, labels = panels[0].get_legend_handles_labels()
        shown = dict(zip(labels, handles, strict=True))
        figure.legend(
            shown.values(),
            [names.get(name, str(name)) for name in shown],
            loc="outside lower left",
            ncols=2 if narrow else 4,
        )

    best = undominated(candidates, lambda c: c.seconds)
    hollow = (
        f" {len(members)} unfinished family members are hollow, placed by their metric on the selection split"
        f"{', dotted where their latency is predicted' if any(m.predicted for m in members) else ''}."
        if members
        else ""
    )
    said = "; ".join(f"{c.label} {metric_figure(metric, c.metric)} at {c.seconds * 1e3:.3g} ms" for c in best)
    return draw(
        "pareto",
        paint,
        height=3.6,
        narrow_height=6.6,
        alt=f"Task metric against latency and size of {len(candidates)} files. Pareto front: {said}.{hollow}",
        caption="Up and to the left is better. Line: files that no other file beats. Bar: 95 % interval of the difference "
        f"from dense.{hollow}",
    )


def _paint(axes: Axes, candidates: Sequence[Candidate], cost: Callable[[Candidate], float]) -> None:
    front = undominated(candidates, cost)
    axes.step(
        [cost(c) for c in front], [100 * c.metric for c in front], where="post", color=MUTED, linewidth=1
    )
    for candidate in candidates:
        x, y, name = cost(candidate), 100 * candidate.metric, candidate.variant
        if candidate.change is not None:
            dense = y - 100 * candidate.change.value
            ends = (dense + 100 * candidate.change.low, dense + 100 * candidate.change.high)
            axes.plot([x, x], ends, color=_COLOURS[name], linewidth=1.2, alpha=0.6)
        axes.scatter([x], [y], s=34, marker=_MARKS[name], color=_COLOURS[name], label=name, zorder=3)
        if candidate.variant == "compressed":
            axes.annotate(
                candidate.run, (x, y), xytext=(6, -11), textcoords="offset points", fontsize=8, color=TEXT
            )


def _paint_members(
    axes: Axes, members: Sequence[Member], cost: Callable[[Member], float | None], *, predicted: bool
) -> None:
    """Hollow, with their sparsity, dotted where the cost is `predicted`; those without a figure are left out."""
    for member in members:
        x, y, colour = cost(member), 100 * member.metric, COLOURS["compressed"]
        if x is None:
            continue
        dotted = predicted and member.predicted
        axes.scatter(
            [x],
            [y],
            s=34,
            marker="o",
            facecolors="none",
            edgecolors=colour,
            linestyle=":" if dotted else "-",
            label=_PREDICTED if dotted else _MEMBER,
            zorder=2,
        )
        axes.annotate(
            f"{member.sparsity:.0%}",
            (x, y),
            xytext=(6, 4),
            textcoords="offset points",
            fontsize=8,
            color=TEXT,
        )
