"""image-classification: one class a picture."""

from collections.abc import Sequence
from typing import ClassVar

from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.classes import class_numbers
from platon_compress.tasks.classification import SingleLabel
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import Examples, pixels

__all__ = ["ImageClassification"]


class ImageClassification(SingleLabel):
    """Folders of pictures, npz archives, the digits of the demo."""

    name: ClassVar[str] = "image-classification"

    def encode(self, rows: Rows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Pixels as the model's processor makes them, and the number of each picture's class."""
        numbers = class_numbers(rows, names)
        return Examples(pixels(rows.inputs, checkpoint, rows.origin), numbers)
