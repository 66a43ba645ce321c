"""A plan for the terminal: a table where there is room for one, a list of layers with wrapped reasons elsewhere."""

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platon_compress.pipeline.reporter import Reporter
    from platon_compress.planning import LayerPlan, Plan

__all__ = ["layer_lines", "layer_rows", "show_plan"]

_COLUMNS = ("weight", "shape", "density", "form", "expected", "reason")
_WIDE = 140  # characters from which a column of reasons is readable


def show_plan(plan: "Plan", reporter: "Reporter") -> None:
    """Print every layer with its form and the reason."""
    if reporter.width >= _WIDE:
        reporter.table("Form per layer", _COLUMNS, layer_rows(plan))
        return
    for line in layer_lines(plan, reporter.width - 1):
        reporter.say(line)


def layer_rows(plan: "Plan") -> list[tuple[str, ...]]:
    """Weight, shape, density, form, expected speed-up and reason of every layer."""
    from platon_compress.structure import common_prefix

    prefix = common_prefix([layer.name.removesuffix(".weight") for layer in plan.layers])
    return [_row(layer, prefix) for layer in plan.layers]


def layer_lines(plan: "Plan", width: int) -> list[str]:
    """The same in lines of at most `width` characters: a line of columns a layer, its reason wrapped below.

    Neighbours with the same reason share it. Names alone may be longer than a line.
    """
    rows = layer_rows(plan)
    sizes = [max(len(row[column]) for row in (_COLUMNS, *rows)) for column in range(len(_COLUMNS) - 1)]
    lines = ["Form per layer", _aligned(_COLUMNS, sizes)]
    for number, row in enumerate(rows):
        lines.append(_aligned(row, sizes))
        if number + 1 == len(rows) or rows[number + 1][-1] != row[-1]:
            lines += textwrap.wrap(row[-1], width, initial_indent="    ", subsequent_indent="    ")
    return lines


def _aligned(row: tuple[str, ...], sizes: list[int]) -> str:
    """Names to the left, everything else to the right."""
    cells = [f"{row[0]:<{sizes[0]}}"]
    return "  ".join(cells + [f"{cell:>{size}}" for cell, size in zip(row[1:-1], sizes[1:], strict=True)])


def _row(layer: "LayerPlan", prefix: str) -> tuple[str, ...]:
    speedup = "-" if layer.expected_speedup is None else f"{layer.expected_speedup:.1f}x"
    name = layer.name.removeprefix(prefix).removesuffix(".weight")
    shape = "x".join(map(str, layer.shape))
    return name, shape, f"{layer.density:.1%}", layer.spoken_form, speedup, _short(layer.reason)


def _short(reason: str) -> str:
    """Without the last clause, whose numbers are the columns beside it; plan.json has it."""
    head, separator, last = reason.rpartition("; ")
    return head if separator and last.endswith("is not zero") else reason
