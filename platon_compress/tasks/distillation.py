"""Distillation: the student learns a teacher's answers beside the labels, or in their place.

    loss = (1 - weight) * hard + weight * T^2 * KL(softmax(teacher / T) || softmax(student / T))
           + hidden * mean over layers, valid positions and channels of (student - teacher)^2

`hard` is the model's own loss on the labels, T the temperature, both means taken over the batch (Hinton et al.
2015; the last term after Sun et al. 2019, without their normalisation). The teacher runs in eval mode beside
every step: nothing of it is stored, and it draws no random numbers.
"""

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Trainer

from platon_compress.errors import InputError
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import known_class_names
from platon_compress.tasks.models import Checkpoint

if TYPE_CHECKING:
    from platon_compress.recipe import DistillSection

__all__ = ["DistillingTrainer", "Teacher", "answer_loss", "hidden_loss", "make_teacher"]

# What two image processors must share for one picture to mean the same to both models.
_PIXEL_SETTINGS = ("size", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")


@dataclass(frozen=True)
class Teacher:
    """A finished classifier to learn from; column i of the student's answers is its column `columns[i]`."""

    model: torch.nn.Module
    name: str
    columns: tuple[int, ...]
    settings: "DistillSection"

    def to_dict(self) -> dict[str, Any]:
        """What the stage that used it records."""
        return {
            "teacher": self.name,
            "weight": self.settings.share,
            "temperature": self.settings.temperature,
            "hidden": self.settings.hidden,
            "labels": self.settings.labels,
        }

    @torch.no_grad()
    def answer(self, inputs: Mapping[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Logits [batch, classes] in the student's order, and hidden states if the settings want them."""
        known = inspect.signature(self.model.forward).parameters
        given = {name: value for name, value in inputs.items() if name in known and name != "labels"}
        wanted = self.settings.hidden > 0
        outputs = self.model(**given, **({"output_hidden_states": True} if wanted else {}))
        return outputs.logits[:, list(self.columns)], outputs.hidden_states[1:] if wanted else ()


def make_teacher(
    checkpoint: Checkpoint, name: str, settings: "DistillSection", labels: Sequence[str], student: Checkpoint
) -> Teacher:
    """A teacher for `student`, whose classes are `labels`.

    Raises InputError when the two have other classes, read their inputs differently, or when the hidden states
    are asked for and their sizes do not agree.
    """
    theirs = known_class_names(Rows(labels, labels), checkpoint)
    if len(theirs) != len(labels):
        raise InputError(
            f"the teacher {name!r} knows {len(theirs)} classes, the data has {len(labels)}; "
            "give a teacher fine-tuned for this task"
        )
    _check_same_inputs(checkpoint, student, name)
    if settings.hidden:
        _check_same_sizes(checkpoint, student, name)
    return Teacher(checkpoint.model.eval(), name, tuple(theirs.index(label) for label in labels), settings)


def answer_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of logits [batch, classes] softened by T, the mean over the batch, float32."""
    ours, theirs = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def hidden_loss(
    student: Sequence[Tensor], teacher: Sequence[Tensor], attention_mask: Tensor | None = None
) -> Tensor:
    """Mean squared difference over layers, positions and channels of states [batch, positions, hidden].

    Positions where `attention_mask` [batch, positions] is 0 are padding and do not count.
    """
    layers = []
    for ours, theirs in zip(student, teacher, strict=True):
        errors = (ours.float() - theirs.float()).square().mean(-1)
        layers.append(errors.mean() if attention_mask is None else errors[attention_mask.bool()].mean())
    return torch.stack(layers).mean()


class DistillingTrainer(Trainer):
    """A Trainer whose training loss is the one above; the loss of an evaluation stays the plain one."""

    def __init__(self, *, teacher: Teacher, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._teacher = teacher
        teacher.model.to(self.args.device)  # type: ignore[arg-type]
        # Ours is a mean over the batch, so the Trainer divides it by the accumulated batches.
        self.model_accepts_loss_kwargs = False

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """The Trainer's hook."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        settings = self._teacher.settings
        outputs = model(**inputs, **({"output_hidden_states": True} if settings.hidden else {}))
        half = self.args.bf16 or self.args.fp16
        with self.accelerator.autocast() if half else contextlib.nullcontext():
            logits, states = self._teacher.answer(inputs)
        loss = settings.share * answer_loss(outputs.logits, logits, settings.temperature)
        if settings.share < 1:
            loss = loss + (1 - settings.share) * outputs.loss
        if states:
            mask = inputs.get("attention_mask")
            loss = loss + settings.hidden * hidden_loss(outputs.hidden_states[1:], states, mask)
        return (loss, outputs) if return_outputs else loss


def _check_same_inputs(teacher: Checkpoint, student: Checkpoint, name: str) -> None:
    ours, theirs = (_input_settings(checkpoint) for checkpoint in (student, teacher))
    if ours != theirs:
        kind = "tokenizer" if student.modality == "text" else "image processor"
        raise InputError(
            f"the teacher {name!r} has another {kind} than the student, so one batch cannot serve both; "
            "give a teacher of the same family"
        )


def _input_settings(checkpoint: Checkpoint) -> Any:
    if checkpoint.processor is None:
        return None
    if checkpoint.modality == "text":
        return checkpoint.processor.get_vocab()
    settings = checkpoint.processor.to_dict()
    return {key: settings.get(key) for key in _PIXEL_SETTINGS}


def _check_same_sizes(teacher: Checkpoint, student: Checkpoint, name: str) -> None:
    for key in ("hidden_size", "num_hidden_layers"):
        ours, theirs = (getattr(c.model.config, key, None) for c in (student, teacher))
        if ours != theirs:
            raise InputError(
                f"distill.hidden compares layer by layer, but the teacher {name!r} has {key} {theirs}, the "
                f"student {ours}; set distill.hidden=0"
            )
