"""Tokenizer and session together: texts in, one result per text out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from platon_compress.progress import Progress, silent
from platon_compress.runtime.batches import Engine, Feed, Keep, pad
from platon_compress.runtime.tokens import TextTokenizer

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["TextEngine"]

_SLAB = 8192  # texts whose encodings are in memory at a time

Item = TypeVar("Item")


@dataclass(frozen=True)
class TextEngine:
    """What every method that takes texts works with."""

    engine: Engine
    tokenizer: TextTokenizer

    def run(
        self,
        items: Sequence[Item],
        windows: "Callable[[Sequence[Item]], list[list[Encoding]]]",
        keep: Keep,
        finish: "Callable[[Item, list[tuple[Encoding, Any]]], Any]",
        *,
        batch_size: int,
        progress: Progress | None,
    ) -> list[Any]:
        """One result per item, some thousand items at a time: memory does not grow with their number.

        windows: items to their encodings, one or more each. keep: see :class:`Engine`; finish: an item and its
        encodings, each with what `keep` gave for it, to the item's result. `progress` counts items.
        """
        results: list[Any] = []
        for start in range(0, len(items), _SLAB):
            part = items[start : start + _SLAB]
            report = _within(progress or silent, start, len(part), len(items))
            made = windows(part)
            flat = [encoding for own in made for encoding in own]
            kept = iter(self._flat(flat, keep, batch_size, report))
            for item, own in zip(part, made, strict=True):
                results.append(finish(item, [(encoding, next(kept)) for encoding in own]))
        return results

    def _flat(
        self, encodings: "Sequence[Encoding]", keep: Keep, batch_size: int, progress: Progress
    ) -> list[Any]:
        lengths = [len(encoding.ids) for encoding in encodings]
        return self.engine.run(
            encodings, self._feed, keep, lengths=lengths, batch_size=batch_size, progress=progress
        )

    def run_whole(
        self, items: Sequence[Any], keep: Keep, *, batch_size: int, progress: Progress | None
    ) -> list[Any]:
        """As `run`, of texts or pairs that are cut where they are too long."""

        def windows(part: Sequence[Any]) -> "list[list[Encoding]]":
            return [[encoding] for encoding in self.tokenizer.encode(part)]

        def finish(item: Any, kept: "list[tuple[Encoding, Any]]") -> Any:
            del item
            return kept[0][1]

        return self.run(items, windows, keep, finish, batch_size=batch_size, progress=progress)

    def _feed(self, encodings: "Sequence[Encoding]") -> Feed:
        return pad(encodings, self.engine.text_inputs(), self.tokenizer.pad_id, self.tokenizer.pad_left)


def _within(report: Progress, start: int, size: int, items: int) -> Progress:
    """Progress over `size` of all `items`, which began at `start`, told by their encodings."""

    def told(done: int, total: int, status: str = "") -> None:
        report(start + size * done // total, items, status)

    return told
