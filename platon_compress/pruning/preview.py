"""A dry run: what would be pruned, when, and the memory it takes."""

import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.pruner import check_fits, prunable_parameters
from platon_compress.pruning.schedule import Schedule
from platon_compress.pruning.watch import memory_warning
from platon_compress.structure import common_prefix

__all__ = ["Preview", "PreviewRow", "preview"]

_LINE = 79  # characters of the narrowest terminal that people use
_WIDTH, _HEIGHT, _LEFT = 60, 8, 7  # of the plot, and of the labels left of it
_STATES = {"platon": 3, "sensitivity": 2, "magnitude": 0, "movement": 2, "fisher": 2}  # float32 per weight


@dataclass(frozen=True)
class PreviewRow:
    """One prunable parameter."""

    name: str
    shape: tuple[int, ...]
    weights: int


@dataclass(frozen=True)
class Preview:
    """What `Pruner(model, config)` would do.

    total_weights counts the whole model, state_bytes what the pruner will hold (averages and masks), memory_bytes
    what a training with AdamW holds beside its activations, schedule the (step, sparsity) points of the plot,
    first_mask, final_step and frozen_step where masks begin, the final phase and the frozen one (None: nowhere),
    warnings what the pruner would warn of at its start, counts_weights whether a sparsity is a share of the weights.
    """

    rows: tuple[PreviewRow, ...]
    total_weights: int
    state_bytes: int
    memory_bytes: Mapping[str, int]
    schedule: tuple[tuple[int, float], ...]
    first_mask: int
    final_step: int
    frozen_step: int | None
    rewound_to: int | None
    warnings: tuple[str, ...]
    counts_weights: bool = True

    @property
    def weights(self) -> int:
        """Number of prunable weights."""
        return sum(row.weights for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "weights": self.weights,
            "total_weights": self.total_weights,
            "state_bytes": self.state_bytes,
            "memory_bytes": dict(self.memory_bytes),
            "first_mask": self.first_mask,
            "final_step": self.final_step,
            "frozen_step": self.frozen_step,
            "rewound_to": self.rewound_to,
            "warnings": list(self.warnings),
            "rows": [{"name": r.name, "shape": list(r.shape), "weights": r.weights} for r in self.rows],
            "schedule": [{"step": step, "sparsity": sparsity} for step, sparsity in self.schedule],
        }

    def to_text(self) -> str:
        """The listing for a terminal of 80 columns: like parameters in one line, the plot, the sums."""
        return "\n".join([*_listing(self.rows), "", *self._plot(), "", *self._sums()])

    def _plot(self) -> list[str]:
        marks = [1, self.first_mask, self.final_step, self.frozen_step, self.schedule[-1][0]]
        steps = [step for step, _ in self.schedule]
        return [*_plot([s for _, s in self.schedule]), _axis(steps, sorted({m for m in marks if m}))]

    def _sums(self) -> Iterator[str]:
        yield (
            f"steps 1 to {self.schedule[-1][0]}, first mask at {self.first_mask}, full sparsity from "
            f"{self.final_step}"
        )
        if self.frozen_step is not None:
            rewound = (
                "" if self.rewound_to is None else f", learning rate back to that of step {self.rewound_to}"
            )
            yield f"mask frozen from {self.frozen_step}{rewound}"
        last = self.schedule[-1][1]
        gone = f"{int(self.weights * last):,}" if self.counts_weights else f"{last:.1%} of the time"
        go = "go" if self.counts_weights else "goes"
        yield (
            f"{self.weights:,} of {self.total_weights:,} weights ({self.weights / self.total_weights:.0%}) are "
            f"prunable, {gone} {go}"
        )
        parts = [f"{name} {_mebibytes(size)}" for name, size in self.memory_bytes.items()]
        total = f"memory without activations {_mebibytes(sum(self.memory_bytes.values()))} MiB: "
        yield from textwrap.wrap(total + ", ".join(parts), _LINE, subsequent_indent="  ")
        for warning in self.warnings:
            yield from textwrap.wrap(f"warning: {warning}", _LINE, subsequent_indent="  ")


def preview(model: nn.Module, config: PruneConfig, total_steps: int | None = None) -> Preview:
    """Lists without allocating anything. `total_steps` is used where the config leaves it open."""
    full = config.resolved(total_steps)
    schedule = Schedule.of(full)
    check_fits(model, full)
    parameters = prunable_parameters(model, full)
    rows = tuple(PreviewRow(name, tuple(p.shape), p.numel()) for name, p in parameters.items())
    averages = 0 if full.schedule == "held" else _STATES[full.criterion]
    states = sum(row.weights for row in rows) * (4 * averages + 1)
    points = sorted({1 + round(i * (schedule.total - 1) / (_WIDTH - 1)) for i in range(_WIDTH)})
    warning = memory_warning(full)
    return Preview(
        rows=rows,
        total_weights=sum(p.numel() for p in model.parameters()),
        state_bytes=states,
        memory_bytes={**_training_bytes(model), "pruner": states},
        schedule=tuple((step, schedule.sparsity(step)) for step in points),
        first_mask=schedule.first_mask,
        final_step=min(schedule.last_before_final + 1, schedule.total),
        frozen_step=schedule.total - schedule.freeze + 1 if schedule.freeze else None,
        rewound_to=None if full.rewind_to is None else round(full.rewind_to * schedule.total) + 1,
        warnings=() if warning is None else (warning,),
        counts_weights=full.granularity != "structured",
    )


def _training_bytes(model: nn.Module) -> dict[str, int]:
    """Weights of the whole model; gradients and AdamW's two float32 averages of what is trained."""
    trained = [p for p in model.parameters() if p.requires_grad]
    return {
        "weights": sum(p.numel() * p.element_size() for p in model.parameters()),
        "gradients": sum(p.numel() * p.element_size() for p in trained),
        "AdamW": sum(8 * p.numel() for p in trained),
    }


def _listing(rows: Sequence[PreviewRow]) -> list[str]:
    """What all names begin with, then a line for all that differ in block numbers only (`*`)."""
    alike: dict[tuple[str, tuple[int, ...]], list[PreviewRow]] = {}
    for row in rows:
        name = re.sub(r"(?<=\.)\d+(?=\.)", "*", row.name).removesuffix(".weight")
        alike.setdefault((name, row.shape), []).append(row)
    shared = common_prefix([name for name, _ in alike])
    width = max(len(name) - len(shared) for name, _ in alike)
    lines = [shared] if shared else []
    for (name, shape), members in alike.items():
        count, weights = f"{len(members)} x", sum(row.weights for row in members)
        short = name.removeprefix(shared)
        lines.append(f"  {short:<{width}} {count:>5} {'x'.join(map(str, shape)):<9} {weights:>13,}")
    return lines


def _plot(values: Sequence[float]) -> list[str]:
    """One column a value, from 0 to the largest one."""
    top = max(values) or 1.0
    lines = []
    for level in range(_HEIGHT, 0, -1):
        label = f"{top * level / _HEIGHT:5.0%} |"
        lines.append(
            label + "".join("#" if v >= top * (level - 0.5) / _HEIGHT else " " for v in values).rstrip()
        )
    return [*lines, "      +" + "-" * len(values)]


def _axis(steps: Sequence[int], marks: Sequence[int]) -> str:
    """The numbers of the marked steps under their columns; one that would touch its neighbour is left out."""
    line = " " * _LEFT
    for mark in marks:
        column = _LEFT + min(range(len(steps)), key=lambda i: abs(steps[i] - mark))
        if mark == marks[-1]:
            column -= len(str(mark)) - 1  # the last ends with the plot
        if column > len(line) or mark == marks[0]:
            line = line.ljust(column) + str(mark)
    return line


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:,.1f}"
