"""Inputs sorted by length into batches, batches through one session, results back in the given order."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from platon_compress.errors import InputError, first_line
from platon_compress.limits import LIMITS
from platon_compress.progress import Progress, silent

__all__ = ["Batch", "Engine", "Feed", "Keep", "pad"]

Feed = dict[str, np.ndarray]
_TYPES = {
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(bool)": np.bool_,
}
_FROM_TOKENS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""Input of the file to the attribute of an encoding."""


@dataclass(frozen=True)
class Batch:
    """What was fed, and the file's outputs by name."""

    feed: Feed
    outputs: dict[str, np.ndarray]

    @property
    def first(self) -> np.ndarray:
        """The first output."""
        return next(iter(self.outputs.values()))

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """bool [batch, tokens]: True where a token of the text stands."""
        return self.feed["attention_mask"].astype(bool)


Keep = Callable[[Batch], Iterable[Any]]
"""A batch to one result per row."""


@dataclass(frozen=True)
class Engine:
    """One session. workers: batches that are computed at a time, each by a thread of its own."""

    session: Any
    workers: int = 1

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """Name to numpy type. Raises InputError for a type that no tokenizer or picture gives."""
        found = {value.name: _TYPES.get(value.type) for value in self.session.get_inputs()}
        if unknown := [value.type for value in self.session.get_inputs() if value.type not in _TYPES]:
            raise InputError(f"the model file takes {unknown[0]}, which cannot be fed; export it again")
        return found

    def text_inputs(self) -> Mapping[str, Any]:
        """As `inputs`, of a file that takes nothing but what a tokenizer gives; InputError otherwise."""
        for name in self.inputs:
            if name not in _FROM_TOKENS:
                raise InputError(
                    f"the model file takes {name!r}, which no tokenizer gives; it knows {', '.join(_FROM_TOKENS)}"
                )
        return self.inputs

    def run(
        self,
        items: Sequence[Any],
        make: Callable[[Sequence[Any]], Feed],
        keep: Keep,
        *,
        lengths: Sequence[int] | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> list[Any]:
        """One result per item, in their order.

        make: a batch's items to what the file takes; keep: a batch to one result per row. lengths: longest first, so
        that a batch holds texts of nearly one length and the first one needs the most memory.
        """
        LIMITS["plan.batch"].check("batch_size", batch_size)
        report = progress or silent
        order = list(range(len(items)))
        if lengths is not None:
            order.sort(key=lambda place: -lengths[place])
        parts = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        results: list[Any] = [None] * len(items)
        done = 0
        for part, values in zip(
            parts, self._all([[items[p] for p in part] for part in parts], make, keep), strict=True
        ):
            for place, value in zip(part, values, strict=True):
                results[place] = value
            done += len(part)
            report(done, len(items))
        return results

    def _all(
        self,
        parts: Sequence[Sequence[Any]],
        make: Callable[[Sequence[Any]], Feed],
        keep: Keep,
    ) -> Iterator[Iterable[Any]]:
        def one(part: Sequence[Any]) -> Iterable[Any]:
            return keep(self.compute(make(part)))

        if self.workers == 1:
            yield from map(one, parts)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            yield from pool.map(one, parts)

    def compute(self, feed: Feed) -> Batch:
        """One run of the file on what it takes of `feed`. Raises InputError with ONNX Runtime's reason and the shapes."""
        names = [value.name for value in self.session.get_outputs()]
        try:
            outputs = self.session.run(names, {name: feed[name] for name in self.inputs})
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            shapes = ", ".join(f"{name}{list(value.shape)}" for name, value in feed.items())
            raise InputError(
                f"the model does not run on {shapes}: {first_line(error)}; export it again"
            ) from error
        for name, values in zip(names, outputs, strict=True):
            if not np.isfinite(values).all():
                raise InputError(f"the model's output {name!r} is not finite; verify the exported file")
        return Batch(feed, dict(zip(names, outputs, strict=True)))


def pad(encodings: Sequence[Any], types: Mapping[str, Any], pad_id: int, left: bool) -> Feed:
    """Arrays [batch, longest] of what `types` asks for, and the mask always; short rows are filled up."""
    longest = max(len(encoding.ids) for encoding in encodings)
    feed = {}
    for name, attribute in _FROM_TOKENS.items():
        if name in types or name == "attention_mask":
            filling = pad_id if name == "input_ids" else 0
            feed[name] = np.full((len(encodings), longest), filling, types.get(name, np.int64))
            for row, encoding in zip(feed[name], encodings, strict=True):
                values = getattr(encoding, attribute)
                row[slice(longest - len(values), None) if left else slice(len(values))] = values
    return feed
