"""What a training tells while it runs: its progress to a person, its candidates to whoever keeps them."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from platon_compress.incoming import evaluating
from platon_compress.progress import Progress
from platon_compress.pruning.family import Hold
from platon_compress.pruning.trainer import PlatonCallback
from platon_compress.report.words import metric_figure, metric_name
from platon_compress.tasks.averaging import WeightAverage
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.task import Task

__all__ = ["HoldCallback", "ProgressCallback"]


class ProgressCallback(TrainerCallback):
    """Steps, loss, metric and sparsity."""

    def __init__(self, progress: Progress, task: Task) -> None:
        self._progress, self._task = progress, task

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """With what was logged last."""
        del args, control, kwargs
        self._progress(state.global_step, state.max_steps, _status(state.log_history, self._task))


class HoldCallback(TrainerCallback):
    """Calls `candidate` with the masks at the end of every hold of a family, when the model is as it would be saved."""

    def __init__(
        self,
        pruning: PlatonCallback,
        average: WeightAverage,
        task: Task,
        checkpoint: Checkpoint,
        candidate: Callable[[Hold, Mapping[str, Tensor]], None],
    ) -> None:
        self._pruning, self._average, self._task = pruning, average, task
        self._checkpoint, self._candidate = checkpoint, candidate

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Behind whatever changes the weights."""
        del args, control, kwargs
        hold = self._pruning.pruner.schedule.hold_at(state.global_step)
        if hold is None or state.global_step != hold.last:
            return
        model = self._checkpoint.model
        with evaluating(model), self._average.in_place(), self._task.finished(self._checkpoint):
            self._candidate(hold, self._pruning.pruner.masks())


def _status(log_history: list[dict[str, float]], task: Task) -> str:
    latest: dict[str, float] = {}
    for row in log_history[-8:]:
        latest.update(row)
    said = {
        "loss": lambda value: f"loss {value:.3f}",
        f"eval_{task.metric}": lambda value: (
            f"{metric_name(task.metric, task.name)} {metric_figure(task.metric, value)}"
        ),
        "achieved_sparsity": lambda value: f"sparsity {value:.1%}",
    }
    return ", ".join(say(latest[key]) for key, say in said.items() if key in latest)
