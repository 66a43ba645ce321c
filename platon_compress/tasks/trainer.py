"""The Trainer of a task: its loss, its teacher, its metrics."""

import contextlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import Trainer

from platon_compress.export.parity import torch_outputs
from platon_compress.progress import Progress, Steps
from platon_compress.pruning.state.renamed import restore_renamed
from platon_compress.scoring import Evaluation, Scores
from platon_compress.tasks.augmentation import Augmenter
from platon_compress.tasks.distillation import Teacher
from platon_compress.tasks.grouping import LengthSampler
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    from platon_compress.recipe.training import Augmentation

__all__ = ["TaskTrainer", "evaluate"]


def evaluate(model: torch.nn.Module, evaluation: Evaluation, progress: Progress | None = None) -> Scores:
    """What `model` reaches on examples that can be scored."""
    assert evaluation.score is not None  # noqa: S101 - a task has labels to validate on
    steps = Steps(len(evaluation.batches), progress)
    return evaluation.score(torch_outputs(model, steps.over(evaluation.batches, "")))


class TaskTrainer(Trainer):
    """Trains on the task's loss, or on what the module distillation says; validates by the task's metric.

    lengths: of the training's texts, where batches hold texts of nearly one.
    """

    def __init__(
        self,
        *,
        task: Task,
        teacher: Teacher | None,
        evaluation: Evaluation,
        augment: "Sequence[Augmentation]" = (),
        lengths: Sequence[int] | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(**arguments)
        self._augmenter = Augmenter(augment, self.args.seed, self.args.process_index) if augment else None
        self._task, self._teacher, self._evaluation = task, teacher, evaluation
        self._lengths = lengths
        if teacher is not None:
            teacher.model.to(self.args.device)  # type: ignore[arg-type]
        # A task's loss is a mean over the batch, so the Trainer divides it by the accumulated batches.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The Trainer's hook."""
        del num_items_in_batch
        teacher = self._teacher
        if self._augmenter is not None and model.training:
            inputs = self._augmenter(inputs, self.state.global_step)
        outputs = self._task.forward(
            model, inputs, hidden=teacher is not None and teacher.settings.hidden > 0
        )
        if teacher is None:
            loss = self._task.loss(outputs, inputs)
        else:
            with (
                self.accelerator.autocast() if self.args.bf16 or self.args.fp16 else contextlib.nullcontext()
            ):
                taught, hidden = teacher.loss(outputs, inputs)
            share = teacher.settings.share
            loss = share * taught + teacher.settings.hidden * hidden
            if share < 1:
                loss = loss + (1 - share) * self._task.loss(outputs, inputs)
        return (loss, outputs) if return_outputs else loss

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """The Trainer's hook."""
        if self._lengths is None:
            return super()._get_train_sampler(train_dataset)
        batch, accumulated = self.args.train_batch_size, self.args.gradient_accumulation_steps
        batches = math.ceil(len(self._lengths) / (batch * self.args.world_size))
        steps = math.ceil(batches / accumulated)
        return LengthSampler(self._lengths, batch, self.args.seed, lambda: self.state.global_step // steps)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """The Trainer's hook, for a training that goes on."""
        model = self.model if model is None else model
        if not restore_renamed(model, Path(resume_from_checkpoint)):
            super()._load_from_checkpoint(resume_from_checkpoint, model)

    def evaluate(
        self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
    ) -> dict[str, float]:
        """The Trainer's hook; the examples are those of the evaluation, whatever it is given."""
        del eval_dataset, ignore_keys
        assert self.model is not None  # noqa: S101 - it was given one
        scores = evaluate(self.model, self._evaluation)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.values.items()}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
