"""A dry run: what would be pruned, when, and the memory it takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.pruner import prunable_parameters
from platon_compress.pruning.schedule import Schedule

__all__ = ["Preview", "PreviewRow", "preview"]

_WIDTH, _HEIGHT = 60, 8
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

    total_weights counts the whole model, state_bytes what the pruner will hold (averages and masks), schedule
    the (step, sparsity) points of the plot, first_mask and final_step where masks begin and the final phase does.
    """

    rows: tuple[PreviewRow, ...]
    total_weights: int
    state_bytes: int
    schedule: tuple[tuple[int, float], ...]
    first_mask: int
    final_step: int

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
            "first_mask": self.first_mask,
            "final_step": self.final_step,
            "rows": [{"name": r.name, "shape": list(r.shape), "weights": r.weights} for r in self.rows],
            "schedule": [{"step": step, "sparsity": sparsity} for step, sparsity in self.schedule],
        }

    def to_text(self) -> str:
        """The listing for a terminal: a line per parameter, the plot of the schedule, the sums."""
        width = max(len(row.name) for row in self.rows)
        lines = [f"{r.name:<{width}}  {'x'.join(map(str, r.shape)):>11}  {r.weights:>12,}" for r in self.rows]
        share = self.weights / self.total_weights
        return "\n".join(
            [
                *lines,
                "",
                *_plot([sparsity for _, sparsity in self.schedule]),
                (
                    f"steps 1 to {self.schedule[-1][0]}, first mask at {self.first_mask}, full sparsity from "
                    f"{self.final_step}"
                ),
                (
                    f"{self.weights:,} of {self.total_weights:,} weights ({share:.0%}) are prunable; the pruner "
                    f"holds {self.state_bytes / 2**20:,.1f} MiB"
                ),
            ]
        )


def preview(model: nn.Module, config: PruneConfig, total_steps: int | None = None) -> Preview:
    """Lists without allocating anything. `total_steps` is used where the config leaves it open."""
    full = config.resolved(total_steps)
    schedule = Schedule.of(full)
    parameters = prunable_parameters(model, full)
    rows = tuple(PreviewRow(name, tuple(p.shape), p.numel()) for name, p in parameters.items())
    weights = sum(row.weights for row in rows)
    points = sorted({1 + round(i * (schedule.total - 1) / (_WIDTH - 1)) for i in range(_WIDTH)})
    steps = range(1, schedule.total + 1)
    return Preview(
        rows=rows,
        total_weights=sum(p.numel() for p in model.parameters()),
        state_bytes=weights * (4 * _STATES[full.criterion] + 1),
        schedule=tuple((step, schedule.sparsity(step)) for step in points),
        first_mask=next(s for s in steps if s >= schedule.interval and schedule.masks_at(s)),
        final_step=next((s for s in steps if schedule.is_final(s)), schedule.total),
    )


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
