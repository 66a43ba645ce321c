"""text-classification: single texts or pairs, one class each."""

from collections.abc import Sequence
from typing import ClassVar

from platon_compress.tasks.classes import class_numbers
from platon_compress.tasks.classification import SingleLabel
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import Examples, tokenise
from platon_compress.tasks.models import Checkpoint

__all__ = ["TextClassification"]


class TextClassification(SingleLabel):
    """Sentiment, intent, safety, entailment of pairs."""

    name: ClassVar[str] = "text-classification"
    teachable: ClassVar[bool] = True

    def encode(self, rows: Rows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Tokens of each text or pair, and the number of its class."""
        pairs = len(rows) > 0 and isinstance(rows.inputs[0], tuple)
        columns = list(zip(*rows.inputs, strict=True)) if pairs else [rows.inputs]
        numbers = class_numbers(rows, names)
        features, _ = tokenise(columns, checkpoint, self.data.max_length, rows.origin)
        return Examples(features, numbers)
