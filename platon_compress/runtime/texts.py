"""Tokenizer and session together: texts in, one result per text out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platon_compress.progress import Progress
from platon_compress.runtime.batches import Batch, Engine, Feed, pad
from platon_compress.runtime.tokens import TextTokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["TextEngine"]


@dataclass(frozen=True)
class TextEngine:
    """What every method that takes texts works with."""

    engine: Engine
    tokenizer: TextTokenizer

    def run(
        self,
        encodings: "Sequence[Encoding]",
        keep: Callable[[Batch], Sequence[Any]],
        *,
        batch_size: int,
        progress: Progress | None,
    ) -> list[Any]:
        """One result of `keep` per encoding; see :meth:`Engine.run`."""
        lengths = [len(encoding.ids) for encoding in encodings]
        return self.engine.run(
            encodings, self._feed, keep, lengths=lengths, batch_size=batch_size, progress=progress
        )

    def _feed(self, encodings: "Sequence[Encoding]") -> Feed:
        return pad(encodings, self.engine.text_inputs(), self.tokenizer.pad_id, self.tokenizer.pad_left)
