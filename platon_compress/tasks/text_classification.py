"""text-classification: single texts or pairs, one class each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.classes import class_numbers
from platon_compress.tasks.classification import SingleLabel
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import Examples, text_length, tokenise

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["TextClassification", "text_features"]


class TextClassification(SingleLabel):
    """Sentiment, intent, safety, entailment of pairs."""

    name: ClassVar[str] = "text-classification"
    teachable: ClassVar[bool] = True

    def encode(self, rows: Rows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Tokens of each text or pair, and the number of its class."""
        numbers = class_numbers(rows, names)
        return Examples(text_features(rows, checkpoint, self.data), numbers)


def text_features(rows: Rows, checkpoint: Checkpoint, data: "DataSection") -> list[dict[str, Any]]:
    """Tokens of each text or pair, cut to `data.max_length`."""
    pairs = len(rows) > 0 and isinstance(rows.inputs[0], tuple)
    columns = list(zip(*rows.inputs, strict=True)) if pairs else [rows.inputs]
    return tokenise(columns, checkpoint, text_length(data, checkpoint), rows.origin)[0]
