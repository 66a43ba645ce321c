"""The mean of the weights over the last steps of a training (Izmailov et al. 2018), and only of steps under one mask.

Rules, with N the steps of a run at one sparsity and share = `train.average`:

1. Averaged are the last round(share N) steps, at least one, of a dense training; of a pruned one the last so many of those
   in which the mask stays: where it is frozen or held, and in every hold of a family. So what is zero in one is zero in all.
2. Where a mask changes all the same (its first ranking came late), the mean begins anew.
3. The training goes on from its own weights. The mean stands in their place where a model is judged or kept.
4. A checkpoint holds the mean and how many steps are in it, so a resumed training ends in the same bits.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from platon_compress.errors import InputError
from platon_compress.files import new_file
from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.schedule import Schedule
from platon_compress.pruning.trainer import PlatonCallback

__all__ = ["AverageCallback", "WeightAverage", "averaged_spans"]

_FILE = "average.safetensors"
Span = tuple[int, int]


def averaged_spans(share: float, total: int, pruning: PruneConfig | None) -> tuple[Span, ...]:
    """First and last steps of what is averaged in a training of `total` steps (rule 1).

    Raises InputError where the mask of a pruned one never stays.
    """
    if not share:
        return ()
    if pruning is None:
        return ((total - max(1, round(share * total)) + 1, total),)
    schedule, count = Schedule.of(pruning), max(1, round(share * pruning.single_steps(total)))
    constant = [(hold.first, hold.last) for hold in schedule.holds]
    if not constant:
        frozen = next((step for step in range(1, total + 1) if schedule.is_frozen(step)), None)
        if frozen is None:
            raise InputError(
                f"train.average {share:g} averages weights under one mask, and the mask never stays; set prune.freeze to "
                f"{share:g}"
            )
        constant = [(frozen, total)]
    return tuple((max(first, last - count + 1), last) for first, last in constant)


class WeightAverage:
    """The mean of a model's parameters over the steps of a span; `steps` are in it so far."""

    def __init__(self, model: nn.Module, spans: tuple[Span, ...]) -> None:
        self._model, self._spans = model, spans
        self._mean: AveragedModel | None = None
        self._last = 0  # a Trainer that resumes at its end takes its last step once more

    @property
    def steps(self) -> int:
        """How many steps are in the mean."""
        return 0 if self._mean is None else int(self._mean.n_averaged)

    def update(self, step: int, *, changed: bool = False) -> None:
        """After optimiser step `step`; `changed`: it ended with another mask (rule 2)."""
        begins = any(step == first for first, _ in self._spans)
        if step <= self._last or not any(first <= step <= last for first, last in self._spans):
            return
        self._last = step
        if self._mean is None:
            self._mean = AveragedModel(self._model)
        if begins or changed:
            self._mean.n_averaged.zero_()  # the next update copies
        self._mean.update_parameters(self._model)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the mean while the block runs; then it is as before, bit by bit."""
        if self._mean is None:
            yield
            return
        own = [parameter.detach().clone() for parameter in self._model.parameters()]
        self.take_over()
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, kept in zip(self._model.parameters(), own, strict=True):
                    parameter.copy_(kept)

    @torch.no_grad()
    def take_over(self) -> None:
        """The model's parameters become the mean; nothing happens before the first step of a span."""
        if self._mean is not None:
            for parameter, mean in zip(self._model.parameters(), self._mean.module.parameters(), strict=True):
                parameter.copy_(mean)

    def save(self, folder: Path) -> None:
        """Beside a checkpoint, once a span has begun."""
        from safetensors.torch import save_file

        if self._mean is None:
            return
        tensors = {name: p.detach().contiguous() for name, p in self._mean.module.named_parameters()}
        record = {"steps": str(self.steps), "last": str(self._last)}
        folder.mkdir(parents=True, exist_ok=True)
        with new_file(folder / _FILE) as partial:
            save_file(tensors, partial, metadata=record)

    def load(self, folder: Path, step: int) -> None:
        """What `save` wrote at `step`. Raises InputError where it is missing or damaged."""
        if all(step < first for first, _ in self._spans):
            return
        from safetensors import SafetensorError, safe_open

        mean = AveragedModel(self._model)
        try:
            with safe_open(folder / _FILE, framework="pt") as file, torch.no_grad():
                record = file.metadata() or {}
                self._last = int(record["last"])
                mean.n_averaged.fill_(int(record["steps"]))
                for name, parameter in mean.module.named_parameters():
                    parameter.copy_(file.get_tensor(name))
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{folder / _FILE} holds no mean of these weights ({error!r:.80}); take another checkpoint"
            ) from error
        self._mean = mean


class AverageCallback(TrainerCallback):
    """Averages behind every step, and saves with the Trainer."""

    def __init__(
        self, average: WeightAverage, pruning: PlatonCallback | None, resume_from: Path | None
    ) -> None:
        self._average, self._pruning, self._resume_from = average, pruning, resume_from

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Goes on from the mean of the checkpoint."""
        del args, control, kwargs
        if self._resume_from is not None:
            self._average.load(self._resume_from, state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Behind the pruner, whose mask has just been applied, and before the Trainer saves."""
        del kwargs
        last = None if self._pruning is None else self._pruning.last
        self._average.update(state.global_step, changed=last is not None and last.mask_churn > 0)
        if control.should_save:
            self._average.save(Path(str(args.output_dir)) / f"checkpoint-{state.global_step}")
