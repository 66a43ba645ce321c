"""Trains with the Hugging Face Trainer, dense or with PLATON, and says what came of it."""

import contextlib
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, first_line
from platon_compress.progress import Progress
from platon_compress.scoring import Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    import torch

    from platon_compress.pruning import PlatonCallback, PruneConfig
    from platon_compress.pruning.family import Hold
    from platon_compress.pruning.unit_costs import UnitCosts
    from platon_compress.recipe import PruneSection, TrainSection
    from platon_compress.tasks.distillation import Teacher

__all__ = [
    "BATCH",
    "TrainResult",
    "freeze_parameters",
    "prune_config",
    "room_to_save",
    "total_steps",
    "train",
]

# The metric during a training is a curve: it need not be exact.
_WATCHED_EXAMPLES = 1000
BATCH = 32
"""Examples at a time where a metric is taken."""
_FAMILY_REWIND = 0.5
_PRUNER_LOGGED = ("sparsity", "achieved_sparsity", "threshold", "mask_churn")


@dataclass(frozen=True)
class TrainResult:
    """What a training stage did; `scores` on all validation examples.

    history: rows hold `step` and whatever was logged there. expected_speedup: of granularity "structured". steps_before:
    of the training that this one went on from. averaged_steps: at the end whose weights the model is the mean of.
    """

    steps: int
    scores: Scores
    examples: int
    history: tuple[Mapping[str, float], ...]
    warnings: tuple[str, ...] = ()
    masks: Mapping[str, "torch.Tensor"] | None = None
    expected_speedup: float | None = None
    steps_before: int = 0
    averaged_steps: int = 0

    @property
    def all_steps(self) -> int:
        """That are behind the weights."""
        return self.steps_before + self.steps

    def to_dict(self) -> dict[str, Any]:
        """The stage's entry in state.json; the masks are files of their own."""
        return {
            **self.scores.summary(),
            "examples": self.examples,
            "steps": self.all_steps,
            "history": list(self.history),
            "warnings": list(self.warnings),
            **({} if self.expected_speedup is None else {"expected_speedup": self.expected_speedup}),
            **({"averaged_steps": self.averaged_steps} if self.averaged_steps else {}),
        }


def total_steps(examples: int, settings: "TrainSection") -> int:
    """Optimiser steps of a whole run."""
    per_epoch = math.ceil(math.ceil(examples / settings.batch_size) / settings.gradient_accumulation_steps)
    return max(1, round(per_epoch * settings.epochs))


@contextlib.contextmanager
def _in_recipe_words() -> Iterator[None]:
    """A recipe has fractions of the run where PruneConfig has steps, and other names for them."""
    try:
        yield
    except InputError as error:
        message = re.sub(r"\b(initial_warmup|final_warmup|freeze)_steps\b", r"\1", str(error))
        message = re.sub(r"total_steps (\d+)", r"the run's \1 steps", message)
        raise InputError(f"prune: {message}") from error


@_in_recipe_words()
def prune_config(
    section: "PruneSection",
    steps: int,
    costs: Mapping[str, float] | None = None,
    unit_costs: "UnitCosts | None" = None,
    masks: "Mapping[str, torch.Tensor] | None" = None,
) -> "PruneConfig":
    """The `PruneConfig` of a recipe for a run of `steps` steps, with its measured costs if they are known yet.

    With `masks` it holds them, whatever the section says. A family takes more steps, see `platon_compress.pruning.family`.

    Where the recipe leaves `mask_interval` open it is 10, the authors' value, or less where the EMAs
    would remember more than a fifth of the cubic phase (a short run would rank noise).
    """
    from platon_compress.pruning import PruneConfig
    from platon_compress.pruning.family import hold_steps_of
    from platon_compress.pruning.held import held_config
    from platon_compress.recipe import OWN_SETTINGS

    if masks is not None:
        return held_config(masks, steps)
    initial, final = round(section.initial_warmup * steps), round(section.final_warmup * steps)
    interval = section.mask_interval
    if interval is None:
        memory = (steps - initial - final) / 5
        interval = max(1, min(10, int(memory * (1 - max(section.beta1, section.beta2)))))
    same = section.model_dump(
        exclude={
            "initial_warmup",
            "final_warmup",
            "freeze",
            *OWN_SETTINGS,
            "from_dense",
            "mask_interval",
            "per_millisecond",
            "speedup",
            "masks_from",
            "quantize",
        }
    )
    if family := section.family:
        hold = hold_steps_of(steps, len(family))
        rewind = _FAMILY_REWIND if section.rewind_to is None else section.rewind_to
        same |= {"sparsity": family[-1], "hold_steps": hold, "rewind_to": rewind}
        total = steps + (len(family) - 1) * hold
    else:
        same["family"], total = None, steps
    return PruneConfig(
        total_steps=total,
        initial_warmup_steps=initial,
        final_warmup_steps=final,
        freeze_steps=round(section.freeze * steps),
        mask_interval=interval,
        # Empty costs let the settings be checked before anything is measured.
        weight_costs=(costs or {}) if section.per_millisecond else None,
        unit_costs=unit_costs,
        **same,
    )


def train(
    task: Task,
    checkpoint: Checkpoint,
    training: Examples,
    validation: Examples,
    settings: "TrainSection",
    *,
    pruning: "PruneConfig | None" = None,
    teacher: "Teacher | None" = None,
    freeze: tuple[str, ...] = (),
    work_folder: Path,
    progress: Progress | None = None,
    candidate: "Callable[[Hold, Mapping[str, torch.Tensor]], None] | None" = None,
    masks: "Mapping[str, torch.Tensor] | None" = None,
    rounded: bool = False,
) -> TrainResult:
    """Train `checkpoint.model` in place for the recipe's steps, pruning and learning from `teacher` if asked to.

    The same seed gives the dense and the pruned run the same order of examples and the same dropout. A run that
    was killed goes on from the last complete checkpoint in `work_folder`. `candidate` is called with the masks at the end
    of every hold of a family, when `checkpoint.model` is as it would be saved; after a kill perhaps once more. `masks` are
    those that `pruning` holds. `rounded`: in the final phase what is pruned is multiplied as 8-bit values will be.
    Raises InputError when `freeze` names no parameter.
    """
    from transformers import set_seed

    from platon_compress.pruning import PlatonCallback, latest_complete_checkpoint
    from platon_compress.tasks.averaging import AverageCallback, WeightAverage, averaged_spans
    from platon_compress.tasks.callbacks import HoldCallback
    from platon_compress.tasks.dropout import set_dropout
    from platon_compress.tasks.rounded_phase import RoundedPhase

    set_seed(settings.seed)
    planned = None if pruning is None else pruning.total_steps
    steps = planned or total_steps(len(training), settings)
    freeze_parameters(checkpoint, freeze)
    set_dropout(checkpoint.model, settings.dropout)
    last = latest_complete_checkpoint(work_folder, with_pruner=pruning is not None)
    arguments = _arguments(settings, steps, work_folder)
    trainer = _trainer(task, checkpoint, training, validation, arguments, settings, teacher, progress)
    callback = None if pruning is None else PlatonCallback(pruning, resume_from=last, masks=masks)
    average = WeightAverage(checkpoint.model, averaged_spans(settings.average, steps, pruning))
    if callback is not None:
        callback.attach(trainer)
    trainer.add_callback(AverageCallback(average, callback, last))
    if callback is not None and candidate is not None:
        trainer.add_callback(HoldCallback(callback, average, task, checkpoint, candidate))
    phase = RoundedPhase(checkpoint.model, callback if rounded else None)
    trainer.add_callback(phase)
    adapted = task.training(checkpoint, training, teacher)
    with _Warnings() as warnings, room_to_save(work_folder), adapted, phase.restored():
        trainer.train(resume_from_checkpoint=None if last is None else str(last))
        average.take_over()
    return TrainResult(
        steps=steps,
        **_judged(task, checkpoint, validation),
        **_pruned(callback),
        history=_history(trainer.state.log_history, task.metric),
        warnings=tuple(warnings.lines),
        averaged_steps=average.steps,
    )


def _judged(task: Task, checkpoint: Checkpoint, validation: Examples) -> dict[str, Any]:
    """What a result says of the trained model."""
    from platon_compress.tasks.trainer import evaluate

    checkpoint.model.eval()
    evaluation = task.evaluation(validation, checkpoint, BATCH)
    return {"scores": evaluate(checkpoint.model, evaluation), "examples": evaluation.examples}


def _pruned(callback: "PlatonCallback | None") -> dict[str, Any]:
    """What it says of the pruning; nothing without one."""
    if callback is None:
        return {}
    return {"masks": callback.pruner.masks(), "expected_speedup": callback.pruner.expected_speedup}


def _trainer(
    task: Task,
    checkpoint: Checkpoint,
    training: Examples,
    validation: Examples,
    arguments: Any,
    settings: "TrainSection",
    teacher: "Teacher | None",
    progress: Progress | None,
) -> Any:
    """The Trainer without what prunes, which prints nothing."""
    from transformers import PrinterCallback

    from platon_compress.pruning.state.completeness import SealCallback
    from platon_compress.tasks.callbacks import ProgressCallback
    from platon_compress.tasks.trainer import TaskTrainer

    trainer = TaskTrainer(
        task=task,
        teacher=teacher,
        augment=settings.augment,
        lengths=training.lengths if settings.group_by_length else None,
        evaluation=task.evaluation(task.part(validation, _WATCHED_EXAMPLES), checkpoint, BATCH),
        model=checkpoint.model,
        args=arguments,
        train_dataset=training,
        eval_dataset=validation,
        data_collator=lambda items: task.collate(items, checkpoint.processor),
        callbacks=[SealCallback(), *([ProgressCallback(progress, task)] if progress else [])],
    )
    # Its log rows go to the history and the progress bar.
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextlib.contextmanager
def room_to_save(folder: Path) -> Iterator[None]:
    """torch says of a full disk only that a position in its archive is not the expected one."""
    try:
        yield
    except RuntimeError as error:
        if "inline_container" in str(error) or "PytorchStreamWriter" in str(error):
            raise InputError(
                f"a checkpoint could not be written below {folder} ({first_line(error)}); free some space there"
            ) from error
        raise


def freeze_parameters(checkpoint: Checkpoint, names: tuple[str, ...]) -> None:
    """Leave every parameter whose name contains one of `names` as it is.

    Raises InputError when a name is part of no parameter's.
    """
    for name in names:
        found = [p for key, p in checkpoint.model.named_parameters() if name in key]
        if not found:
            raise InputError(
                f"model.freeze names {name!r}, which is part of no parameter name; for example word_embeddings"
            )
        for parameter in found:
            parameter.requires_grad_(False)


def _arguments(settings: "TrainSection", steps: int, work_folder: Path) -> Any:
    import torch
    from transformers import TrainingArguments

    interval = max(1, steps // settings.evaluations)
    return TrainingArguments(
        output_dir=str(work_folder),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=32,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        warmup_steps=round(settings.warmup_ratio * steps),
        max_grad_norm=settings.max_grad_norm,
        lr_scheduler_type="linear",
        bf16=settings.bf16,
        # The Trainer takes bf16 without a GPU only when told that there is none.
        use_cpu=settings.bf16 and not torch.cuda.is_available(),
        seed=settings.seed,
        remove_unused_columns=False,
        eval_strategy="steps",
        eval_steps=interval,
        logging_steps=max(1, steps // 60),
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _history(log_history: list[dict[str, float]], metric: str) -> tuple[dict[str, float], ...]:
    logged = {"loss": "loss", f"eval_{metric}": metric}
    rows = []
    for entry in log_history:
        row = {name: float(entry[key]) for key, name in logged.items() if key in entry}
        row |= {key: float(entry[key]) for key in _PRUNER_LOGGED if entry.get(key) is not None}
        if row:
            rows.append({"step": int(entry["step"]), **row})
    return tuple(rows)


class _Warnings(logging.Handler):
    """Collects this package's warnings while a block runs, so that they reach the report."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def __enter__(self) -> "_Warnings":
        logging.getLogger("platon_compress").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("platon_compress").removeHandler(self)
