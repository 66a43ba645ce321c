"""The Hugging Face Trainer drives the pruner through a callback."""

import logging
import math
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor
from transformers import (
    DefaultFlowCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from platon_compress.errors import InputError
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.finished import FinishedRun
from platon_compress.pruning.pruner import Pruner, StepReport
from platon_compress.pruning.state.checkpoint import STATE_FILE, load_pruner, save_pruner
from platon_compress.pruning.state.completeness import seal_checkpoint
from platon_compress.pruning.state.renamed import restore_renamed

__all__ = ["PlatonCallback"]

_log = logging.getLogger(__name__)


class PlatonCallback(TrainerCallback):
    """Prunes during `Trainer.train()`.

        callback = PlatonCallback(PruneConfig(sparsity=0.9)).attach(trainer)
        trainer.train()
        baked = bake(trainer.model, callback.pruner.masks())

    `total_steps` comes from the Trainer. Sparsity, threshold and churn join the Trainer's logs, with `log_layers`
    the sparsity of every parameter too (`layer_sparsity/NAME`). The pruner's state is written into every
    checkpoint before the Trainer writes its own part; to resume, pass the same folder twice:
    `PlatonCallback(config, resume_from=folder)` and `trainer.train(resume_from_checkpoint=folder)`.

    `attach` is better than `callbacks=[...]`: it goes before the reporters, so that TensorBoard and W&B see the
    figures, and it keeps early stopping from ending the run before the final phase. With
    `load_best_model_at_end` only checkpoints of the final phase, the ones at full sparsity, are candidates. `masks`: as
    for `Pruner`.
    """

    _claimed: "ClassVar[weakref.ref[TrainerState] | None]" = None

    def __init__(
        self,
        config: PruneConfig,
        *,
        resume_from: str | os.PathLike[str] | None = None,
        log_layers: bool = False,
        masks: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.config = config
        self.log_layers = log_layers
        self.masks = masks
        self.resume_from = None if resume_from is None else Path(resume_from)
        self._pruner: Pruner | None = None
        self._last: StepReport | None = None
        self._last_mask: StepReport | None = None
        self._best_is_final = False
        self._scale = math.inf
        self._finished: FinishedRun | None = None

    @property
    def pruner(self) -> Pruner:
        """The pruner, once training has begun."""
        if self._pruner is None:
            raise InputError("PlatonCallback has no pruner yet; it is built when Trainer.train() begins")
        return self._pruner

    @property
    def last(self) -> StepReport | None:
        """What the last step did; None before the first."""
        return self._last

    def attach(self, trainer: Trainer) -> "PlatonCallback":
        """Adds this callback right behind the Trainer's own control flow, before every reporter.

        Raises InputError where the Trainer prunes already.
        """
        callbacks = trainer.callback_handler.callbacks
        if any(isinstance(callback, PlatonCallback) for callback in callbacks):
            raise InputError(
                "the Trainer has a PlatonCallback already, and two would prune twice a step; "
                "give it in callbacks=[...] or attach() it, once"
            )
        own = [i for i, callback in enumerate(callbacks) if isinstance(callback, DefaultFlowCallback)]
        callbacks.insert(own[0] + 1 if own else 0, self)
        trainer.add_callback(_StopGuard(self))
        return self

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Builds the pruner, or restores it."""
        del control
        self._claim(state)
        _refuse_fsdp(args, kwargs["model"])
        if self.config.total_steps is not None and self.config.total_steps > state.max_steps:
            raise InputError(
                f"total_steps {self.config.total_steps} exceeds the Trainer's {state.max_steps} steps, so the "
                "sparsity would not be reached; leave total_steps out"
            )
        config = self.config.resolved(state.max_steps)
        if self.resume_from is not None:
            restore_renamed(kwargs["model"], self.resume_from)
        self._pruner = Pruner(
            kwargs["model"], config, lr_scheduler=kwargs.get("lr_scheduler"), masks=self.masks
        )
        self._best_is_final = self.in_final_phase(state)  # a resume within the phase keeps the best so far
        if self.resume_from is not None:
            load_pruner(self._pruner, self.resume_from)
        if self._pruner.steps != state.global_step:
            raise InputError(
                f"the Trainer is at step {state.global_step}, the pruner at step {self._pruner.steps}; resume "
                "both from one folder: PlatonCallback(config, resume_from=F) and train(resume_from_checkpoint=F)"
            )
        self._finished = FinishedRun.of(kwargs["model"], state)
        self._scale = _loss_scale(kwargs.get("optimizer"))
        if kwargs.get("optimizer") is not None:
            self._pruner.check_optimizer(kwargs["optimizer"])

    def _claim(self, state: TrainerState) -> None:
        """One training, one pruner: every `train()` has a state of its own, which the first callback takes."""
        claimed = PlatonCallback._claimed
        if claimed is not None and claimed() is state:
            raise InputError(
                "two PlatonCallbacks, or one given twice, see the same training, and would prune twice a step; "
                "leave one of them out"
            )
        PlatonCallback._claimed = weakref.ref(state)

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Scores and masks; gradients are unscaled and clipped here, and not yet cleared."""
        del args, state, control
        if self._finished is not None:
            return
        self._last = self.pruner.step(skipped=self._was_skipped(kwargs.get("optimizer")))
        if self._last.masked:
            self._last_mask = self._last
            if kwargs.get("optimizer") is not None:
                self.pruner.check_optimizer(kwargs["optimizer"])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the race for the best model when the final phase begins; saves with the Trainer."""
        del kwargs
        if self._finished is not None:
            self._finished.undo(state, control)
        if self.in_final_phase(state) and not self._best_is_final:
            state.best_metric = state.best_model_checkpoint = state.best_global_step = None
            self._best_is_final = True
        self._save(args, state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Saves with the Trainer."""
        del kwargs
        if self._finished is not None:
            self._finished.undo(state, control)
        self._save(args, state, control)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Adds the state to a checkpoint that was decided on after the step's callbacks (save_strategy best); seals it."""
        del control, kwargs
        folder = _checkpoint_folder(args, state)
        if state.is_world_process_zero and folder.is_dir() and not (folder / STATE_FILE).exists():
            save_pruner(self.pruner, folder)
        if args.world_size == 1 and folder.is_dir():  # with others, they may still be writing
            seal_checkpoint(folder)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Adds the figures to a training row, and to its copy in `log_history`."""
        del args, control, kwargs
        if logs is None or "loss" not in logs or self._last is None:
            return
        figures = self._figures(self._last)
        logs.update(figures)
        if state.log_history and state.log_history[-1].get("step") == state.global_step:
            state.log_history[-1].update(figures)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Follows the Trainer back to the best model; warns when what is left is not as sparse as the config asks."""
        del control
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            restore_renamed(kwargs["model"], Path(state.best_model_checkpoint))
            self._go_back_to(Path(state.best_model_checkpoint))
        if (shortfall := self._shortfall()) is not None:
            _log.warning(
                "TRAINING ENDED AT %s, after step %d of %d; it was stopped early, or an earlier checkpoint was loaded",
                shortfall,
                state.global_step,
                self.pruner.schedule.total,
            )

    def _shortfall(self) -> str | None:
        """What was reached and what not; None where the config's target is."""
        wanted, speedup = self.config.sparsity, self.pruner.expected_speedup
        if speedup is not None:
            asked = 1 / (1 - wanted)
            return None if speedup > asked * 0.999 else f"SPEED-UP {speedup:.3f}, NOT {asked:.3f}"
        achieved = self.pruner.count_zeros() / self.pruner.size
        # The authors' rule keeps one weight more, and bounds by weight are rounded down: neither is worth a shout.
        enough = wanted - max(2 / self.pruner.size, 1e-4)
        return None if achieved >= enough else f"SPARSITY {achieved:.4f}, NOT {wanted:.4f}"

    def _go_back_to(self, best: Path) -> None:
        """The Trainer has loaded older weights: their masks belong to them, not the last step's."""
        if (best / STATE_FILE).is_file():
            load_pruner(self.pruner, best)
        else:
            _log.warning(
                "the best model was loaded from %s, which holds no pruner state: the pruner's masks are those of "
                "step %d; bake the model with masks=None",
                best,
                self.pruner.steps,
            )

    def in_final_phase(self, state: TrainerState) -> bool:
        """Whether the weights are at the full sparsity."""
        return self.pruner.schedule.is_final(state.global_step)

    def _save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl) -> None:
        if control.should_save and state.is_world_process_zero:
            save_pruner(self.pruner, _checkpoint_folder(args, state))

    def _was_skipped(self, optimizer: Any) -> bool:
        """Whether the loss overflowed. A fused optimizer skips inside its kernel, where accelerate does not see it,
        and then leaves the gradients scaled; that the scale came down shows it."""
        before, self._scale = self._scale, _loss_scale(optimizer)
        return bool(getattr(optimizer, "step_was_skipped", False)) or self._scale < before

    def _figures(self, last: StepReport) -> dict[str, float]:
        """Between two masks pruned weights drift, so the counts are those right after the last mask."""
        figures = {"sparsity": last.sparsity, "achieved_sparsity": 0.0}
        if (mask := self._last_mask) is not None:
            layers = self.pruner.layer_sparsity()
            figures |= {
                "achieved_sparsity": mask.achieved_sparsity,
                **({} if mask.threshold is None else {"threshold": mask.threshold}),
                "mask_churn": mask.mask_churn,
                "regrown": mask.regrown,
                "layer_sparsity_min": min(layers.values()),
                "layer_sparsity_max": max(layers.values()),
            }
            if self.log_layers:
                figures |= {f"layer_sparsity/{name}": share for name, share in layers.items()}
        return {**figures, "skipped_steps": float(self.pruner.skipped_steps)}


class _StopGuard(TrainerCallback):
    """Last in line: takes back a stop, such as early stopping's, that comes before the final phase."""

    def __init__(self, owner: PlatonCallback) -> None:
        self._owner = owner
        self._said = False

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keeps the run going: the model would be almost dense."""
        del args, kwargs
        if not control.should_training_stop or self._owner.in_final_phase(state):
            return
        if state.global_step >= state.max_steps:
            return
        control.should_training_stop = False
        if not self._said:
            self._said = True
            _log.warning(
                "early stopping at step %d is refused: the model is not at its final sparsity before step %d",
                state.global_step,
                self._owner.pruner.schedule.total - self._owner.pruner.schedule.final + 1,
            )


def _loss_scale(optimizer: Any) -> float:
    """The scale of the GradScaler inside accelerate's optimizer; infinite without one."""
    scaler = getattr(optimizer, "scaler", None)
    return math.inf if scaler is None else float(scaler.get_scale())


def _refuse_fsdp(args: TrainingArguments, model: Any) -> None:
    """The Trainer's FSDP saves and resumes in ways that the pruner's state does not follow yet."""
    sharded = any(hasattr(parameter, "to_local") for parameter in model.parameters())
    if sharded or getattr(args, "fsdp", None):
        raise InputError(
            f"the Trainer runs with FSDP (fsdp={getattr(args, 'fsdp', None)!r}), PlatonCallback does not; train with "
            "DistributedDataParallel, or use fully_shard and Pruner in a training loop of your own"
        )


def _checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
