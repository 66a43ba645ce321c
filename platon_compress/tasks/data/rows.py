"""Raw examples, and where each of them stands, so that a message can name it as an editor shows it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

__all__ = ["Origin", "Rows"]


@dataclass(frozen=True)
class Origin:
    """The source of some rows.

    name: for example "train file t.csv". rows: the number of each row, from 1; empty where none was left out.
    lines: its line in a text file. files: its own file, where every row has one.
    """

    name: str = "data"
    rows: Sequence[int] = ()
    lines: Sequence[int] = ()
    files: Sequence[Any] = ()

    def place(self, index: int) -> str:
        """How to find row `index` (from 0): its file, or its row and line."""
        if self.files:
            return str(self.files[index])
        line = f" (line {self.lines[index]})" if self.lines else ""
        return f"row {self.rows[index] if self.rows else index + 1}{line} of the {self.name}"

    def chosen(self, indexes: Sequence[int]) -> "Origin":
        """The same for a part of the rows."""
        return replace(
            self,
            rows=[self.rows[i] if self.rows else i + 1 for i in indexes],
            lines=[self.lines[i] for i in indexes] if self.lines else (),
            files=[self.files[i] for i in indexes] if self.files else (),
        )


@dataclass(frozen=True)
class Rows:
    """Raw examples of one split: `inputs` are texts, pairs of texts, or uint8 images; `labels` are strings.

    Unlabelled rows have no `labels` at all.
    """

    inputs: Sequence[Any]
    labels: Sequence[str] = ()
    origin: Origin = Origin()

    def __len__(self) -> int:
        return len(self.inputs)

    def slice(self, rows: int | None, seed: int) -> "Rows":
        """A random subset of `rows` rows in their first order; all rows when there are not more."""
        if rows is None or rows >= len(self):
            return self
        chosen = np.sort(np.random.default_rng(seed).permutation(len(self))[:rows]).tolist()
        return Rows(
            [self.inputs[i] for i in chosen],
            [self.labels[i] for i in chosen] if len(self.labels) else (),
            self.origin.chosen(chosen),
        )
