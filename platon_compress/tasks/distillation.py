"""Distillation: the student learns a teacher's answers beside the labels, or in their place.

    loss = (1 - weight) * hard + weight * taught
           + hidden * mean over layers, valid positions and channels of (student - teacher)^2

`hard` is the task's loss on the labels; `taught` is the task's own, for classes with the temperature T
T^2 * KL(softmax(teacher / T) || softmax(student / T)); both are means over the batch (Hinton et al. 2015; the last
term after Sun et al. 2019, without their normalisation). With `relative` a layer's error is divided by the mean of
teacher^2 in it, as SquareHead does (Kurtic et al. 2023, arXiv 2310.06927). The teacher runs in eval mode beside every
step: nothing of it is stored, and it draws no random numbers.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    from platon_compress.recipe import DistillSection

__all__ = ["Teacher", "answer_loss", "hidden_loss", "make_teacher", "read_alike"]

# What two image processors must share for one picture to mean the same to both models.
_PIXEL_SETTINGS = ("size", "do_rescale", "rescale_factor", "do_normalize", "image_mean", "image_std")


@dataclass(frozen=True)
class Teacher:
    """A finished model of the same task to learn from.

    columns: which of its outputs is each of the student's; None where both have the same order. layers: which of its
    hidden states (0 are the embeddings) each of the student's layers learns from; empty where none is asked for.
    """

    model: torch.nn.Module
    name: str
    columns: tuple[int, ...] | None
    settings: "DistillSection"
    task: Task
    layers: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """What the stage that used it records."""
        return {
            "teacher": self.name,
            "weight": self.settings.share,
            "temperature": self.settings.temperature if self.task.softened else None,
            "hidden": self.settings.hidden,
            "relative": self.settings.relative,
            "labels": self.settings.labels,
        }

    @torch.no_grad()
    def answer(self, inputs: Mapping[str, Tensor]) -> Any:
        """Its outputs for a batch, the logits in the student's order, with hidden states if the settings want them."""
        known = inspect.signature(self.model.forward).parameters
        given = {name: value for name, value in inputs.items() if name in known}
        outputs = self.task.forward(self.model, given, hidden=self.settings.hidden > 0)
        if self.columns is not None:
            outputs.logits = outputs.logits[..., list(self.columns)]
        return outputs

    def loss(self, ours: Any, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(taught, hidden) of the student's outputs for a batch; both means, `hidden` 0 where it does not count."""
        theirs = self.answer(inputs)
        taught = self.task.taught(ours, theirs, inputs, self.settings.temperature)
        if not self.settings.hidden:
            return taught, taught.new_zeros(())
        mask = inputs.get("attention_mask")
        return taught, hidden_loss(
            ours.hidden_states[1:],
            [theirs.hidden_states[layer] for layer in self.layers],
            mask,
            relative=self.settings.relative,
        )


def make_teacher(
    checkpoint: Checkpoint,
    name: str,
    settings: "DistillSection",
    task: Task,
    names: Sequence[str],
    student: Checkpoint,
) -> Teacher:
    """A teacher for `student`, whose outputs are called `names`.

    Raises InputError when the two have other classes, read their inputs differently, or when the hidden states
    are asked for and their sizes do not agree.
    """
    try:
        columns = task.teacher_columns(checkpoint, names)
        task.check_teacher(checkpoint, student)
    except InputError as error:
        raise InputError(f"the teacher {name!r} does not fit: {error}") from error
    _check_same_inputs(checkpoint, student, name)
    layers = _layers(checkpoint, student, name) if settings.hidden else ()
    return Teacher(checkpoint.model.eval(), name, columns, settings, task, layers)


def answer_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of logits [batch, classes] softened by T, the mean over the batch, float32."""
    ours, theirs = (F.log_softmax(logits.float() / temperature, dim=-1) for logits in (student, teacher))
    return F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * temperature**2


def hidden_loss(
    student: Sequence[Tensor],
    teacher: Sequence[Tensor],
    attention_mask: Tensor | None = None,
    *,
    relative: bool = False,
) -> Tensor:
    """Mean squared difference over layers, positions and channels of states [batch, positions, hidden].

    Positions where `attention_mask` [batch, positions] is 0 are padding and do not count. `relative` divides that of
    each layer by the teacher's mean square in it.
    """
    layers = []
    for ours, theirs in zip(student, teacher, strict=True):
        error = _mean_square(ours.float() - theirs.float(), attention_mask)
        layers.append(error / _mean_square(theirs.float(), attention_mask) if relative else error)
    return torch.stack(layers).mean()


def _mean_square(states: Tensor, attention_mask: Tensor | None) -> Tensor:
    squares = states.square().mean(-1)
    return squares.mean() if attention_mask is None else squares[attention_mask.bool()].mean()


def read_alike(first: Checkpoint, second: Checkpoint) -> bool:
    """Whether a batch means the same to both: one vocabulary, or the same treatment of pixels."""
    return bool(_input_settings(first) == _input_settings(second))


def _check_same_inputs(teacher: Checkpoint, student: Checkpoint, name: str) -> None:
    if not read_alike(student, teacher):
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


def _layers(teacher: Checkpoint, student: Checkpoint, name: str) -> tuple[int, ...]:
    """By layer of the student the teacher's at the same share of its depth: of twice as many every second.

    Raises InputError for states of another width, or where the teacher has fewer layers.
    """
    width, depth = (
        tuple(int(getattr(c.model.config, key, 0)) for c in (student, teacher))
        for key in ("hidden_size", "num_hidden_layers")
    )
    for key, (ours, theirs), fits in (
        ("hidden_size", width, width[0] == width[1]),
        ("num_hidden_layers", depth, 0 < depth[0] <= depth[1]),
    ):
        if not fits:
            raise InputError(
                f"distill.hidden compares layer by layer, but the teacher {name!r} has {key} {theirs}, the "
                f"student {ours}; set distill.hidden=0"
            )
    return tuple(round(layer * depth[1] / depth[0]) for layer in range(1, depth[0] + 1))
