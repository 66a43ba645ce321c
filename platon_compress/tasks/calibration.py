"""Batches to look at while pruning without training: real inputs of the model, without labels."""

from typing import TYPE_CHECKING

from platon_compress.scoring import Batch
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.rooms import ROOMS, task_of

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["calibration_batches"]

_BATCH = 8


def calibration_batches(
    checkpoint: Checkpoint, task: str, data: "DataSection", rows: int, seed: int
) -> list[Batch]:
    """Inputs of the model, made of at most `rows` rows of `data.calibration` as its task makes them.

    A model of a task that cannot be trained here reads plain texts or pictures. Raises InputError for a damaged file.
    """
    usual = "image-classification" if checkpoint.modality == "image" else "text-classification"
    name = task if task in ROOMS else usual
    room = task_of(name, data.model_copy(update={"problem": "single-label", "label_columns": ()}))
    found = room.read("calibration", seed, labelled=False).slice(rows, seed)
    return room.batches(room.encode(found, checkpoint, ()), checkpoint, _BATCH)
