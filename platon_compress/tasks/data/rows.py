"""Raw examples, and where each of them stands, so that a message can name it as an editor shows it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

import numpy as np

from platon_compress.errors import shown

__all__ = ["Origin", "QuestionRows", "RankingRows", "Rows", "SimilarityRows", "Split", "TaggedRows"]


@dataclass(frozen=True)
class Origin:
    """The source of some rows.

    name: for example "train file t.csv". rows: the number of each row, from 1; empty where none was left out.
    lines: its line in a text file. files: its own file, where every row has one. ids: what the source calls the rows,
    where their numbers are hard to find in it.
    """

    name: str = "data"
    rows: Sequence[int] = ()
    lines: Sequence[int] = ()
    files: Sequence[Any] = ()
    ids: Sequence[Any] = ()

    def place(self, index: int) -> str:
        """How to find row `index` (from 0): its file, or its row and line."""
        if self.files:
            return str(self.files[index])
        line = f" (line {self.lines[index]})" if self.lines else ""
        line = f" (id {shown(self.ids[index])})" if self.ids else line
        return f"row {self.rows[index] if self.rows else index + 1}{line} of the {self.name}"

    def chosen(self, indexes: Sequence[int]) -> "Origin":
        """The same for a part of the rows."""
        return replace(
            self,
            rows=[self.rows[i] if self.rows else i + 1 for i in indexes],
            lines=[self.lines[i] for i in indexes] if self.lines else (),
            files=[self.files[i] for i in indexes] if self.files else (),
            ids=[self.ids[i] for i in indexes] if self.ids else (),
        )


class Split:
    """The rows of one split: a dataclass of columns of one length, an empty one where there is none, and `origin`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    origin: Origin

    def __len__(self) -> int:
        return len(getattr(self, next(self._columns())))

    def chosen(self, indexes: Sequence[int]) -> Self:
        """The same for a part of the rows."""
        columns = {name: getattr(self, name) for name in self._columns()}
        kept: dict[str, Any] = {
            name: [values[i] for i in indexes] for name, values in columns.items() if len(values)
        }
        return replace(self, **kept, origin=self.origin.chosen(indexes))

    def slice(self, rows: int | None, seed: int) -> Self:
        """A random subset of `rows` rows in their first order; all rows when there are not more."""
        if rows is None or rows >= len(self):
            return self
        return self.chosen(self._drawn(rows, np.random.default_rng(seed)))

    def _drawn(self, rows: int, generator: np.random.Generator) -> list[int]:
        return np.sort(generator.permutation(len(self))[:rows]).tolist()

    def _columns(self) -> Iterator[str]:
        return (field.name for field in fields(self) if field.name != "origin")


@dataclass(frozen=True)
class Rows(Split):
    """What a classifier takes: `inputs` are texts, pairs of texts, or uint8 images.

    labels: one class name a row; for multi-label rows a tuple of class names, for regression a number. Unlabelled rows
    have no `labels` at all.
    """

    inputs: Sequence[Any]
    labels: Sequence[Any] = ()
    origin: Origin = Origin()


@dataclass(frozen=True)
class TaggedRows(Split):
    """Texts as words, with one BIO, IOBES or BILOU tag a word; unlabelled texts have no `tags` at all."""

    words: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]] = ()
    origin: Origin = Origin()


@dataclass(frozen=True)
class QuestionRows(Split):
    """Questions about texts.

    answers: per question every (text, first character) that is right, none where the context does not say; without
    labels there are no `answers` at all. groups: the article of each question, or its context. ids are unique.
    """

    ids: Sequence[str]
    questions: Sequence[str]
    contexts: Sequence[str]
    groups: Sequence[str]
    answers: Sequence[Sequence[tuple[str, int]]] = ()
    origin: Origin = Origin()


@dataclass(frozen=True)
class SimilarityRows(Split):
    """Texts to embed: `texts` holds tuples of one length.

    (text,): to learn from a teacher alone. (text, text) with `scores`: how alike they are, higher is more. (anchor,
    positive) and (anchor, positive, negative) without `scores`.
    """

    texts: Sequence[tuple[str, ...]]
    scores: Sequence[float] = ()
    origin: Origin = Origin()

    def distinct(self) -> list[str]:
        """Every text once, in the order of its first row."""
        return list(dict.fromkeys(text for row in self.texts for text in row))


@dataclass(frozen=True)
class RankingRows(Split):
    """Passages to rank: how well each answers its query (0 and 1, or grades from 0), and whose list it belongs to."""

    queries: Sequence[str]
    passages: Sequence[str]
    groups: Sequence[str]
    labels: Sequence[float] = ()
    origin: Origin = Origin()

    def _drawn(self, rows: int, generator: np.random.Generator) -> list[int]:
        """Whole groups, as many as fit into `rows` in random order, and at least one: half a list has another rank."""
        members: dict[str, list[int]] = {}
        for index, group in enumerate(self.groups):
            members.setdefault(group, []).append(index)
        lists = list(members.values())
        drawn: list[int] = []
        for place in generator.permutation(len(lists)).tolist():
            if drawn and len(drawn) + len(lists[place]) > rows:
                break
            drawn += lists[place]
        return sorted(drawn)
