"""The rows of a split, whatever the task: one reader each."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from platon_compress.errors import InputError
from platon_compress.tasks.data.conll import tagged_rows
from platon_compress.tasks.data.images import DIGITS, image_rows
from platon_compress.tasks.data.labelled import labelled_rows
from platon_compress.tasks.data.pairs import ranking_rows, similarity_rows
from platon_compress.tasks.data.rows import Rows, Split
from platon_compress.tasks.data.source import Source
from platon_compress.tasks.data.squad import question_rows

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["Rows", "read_split"]

_READERS: Mapping[str, Callable[[Source], Split]] = {
    "text-classification": labelled_rows,
    "token-classification": tagged_rows,
    "question-answering": question_rows,
    "sentence-similarity": similarity_rows,
    "text-ranking": ranking_rows,
    "image-classification": image_rows,
}


def read_split(data: "DataSection", split: str, task: str, seed: int, *, labelled: bool = True) -> Split:
    """The rows of `split` ("train", "validation" or "test") that a recipe's data section names, as `task` takes them.

    Rows that are not `labelled` need no label column, and one that is there is not read.
    Raises InputError, in one line, for a missing file, an unknown column, and for what is no row of the task.
    """
    if data.dataset == DIGITS and task != "image-classification":
        raise InputError(f"data.dataset {DIGITS} holds images; use model.task image-classification")
    source = Source(data, split, task, labelled)
    rows = _READERS[task](source)
    if not len(rows):
        raise InputError(f"the {split} data holds no rows; give a file with at least one")
    return rows.slice(source.limit, seed)
