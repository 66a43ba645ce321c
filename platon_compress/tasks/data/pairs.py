"""Reads texts to embed (alone, in scored pairs, or as anchor and positive), and passages to rank for queries."""

from collections.abc import Sequence

from platon_compress.errors import InputError
from platon_compress.tasks.data.rows import Origin, RankingRows, SimilarityRows
from platon_compress.tasks.data.source import Source
from platon_compress.tasks.data.table_files import Table
from platon_compress.tasks.data.values import grades, number_labels, texts

__all__ = ["ranking_rows", "similarity_rows"]


def similarity_rows(source: Source) -> SimilarityRows:
    """The columns that are there say what the rows are; those that the recipe names must be there.

    `text` alone: texts. With `text_pair` and `label`: scored pairs. With `text_pair` and no `label`, or unlabelled:
    pairs. With `negative` too: triples, which have no scores; they are trained on, and judge nothing. Texts to train on
    without labels need no `text_pair`, whatever the recipe calls that of the other splits.
    """
    table = source.table()
    keys = ["text", *(key for key in ("text_pair", "negative") if _is_there(source, table, key))]
    _check_columns(source, table, keys)
    columns = [texts(source.values(table, key), table.origin, source.named(key)) for key in keys]
    scored = source.labelled and keys == ["text", "text_pair"] and source.has(table, "label")
    scores = number_labels(source.values(table, "label"), table.origin) if scored else ()
    if scored:
        _check_more_than_one(scores, table.origin, "score")
    return SimilarityRows(list(zip(*columns, strict=True)), scores, table.origin)


def _is_there(source: Source, table: Table, key: str) -> bool:
    if key == "negative" and source.split != "train":
        return False
    return source.has(table, key) if source.labelled else source.column(key) in table.columns


def _check_columns(source: Source, table: Table, keys: Sequence[str]) -> None:
    label = source.data.label
    if "negative" in keys and "text_pair" not in keys:
        raise InputError(
            "data.negative is given, but there are no positives; name their column with data.text_pair"
        )
    if "text_pair" not in keys and source.labelled and label is not None:
        raise InputError(
            f"data.label is {label!r}, but a score is of two texts; name the second with data.text_pair"
        )
    if "negative" in keys and label in table.columns:
        raise InputError(
            f"the {table.origin.name} has both data.negative and data.label, and triples have no scores; leave one out"
        )


def ranking_rows(source: Source) -> RankingRows:
    """One (query, passage) a row; rows of one group compete for its ranks."""
    table = source.table()
    queries, passages = (
        texts(source.values(table, key), table.origin, source.named(key)) for key in ("text", "text_pair")
    )
    labels: Sequence[float] = ()
    if source.labelled:
        labels = grades(source.values(table, "label"), table.origin)
        _check_more_than_one(labels, table.origin, "label")
    return RankingRows(queries, passages, _groups(source, table, queries), labels, table.origin)


def _groups(source: Source, table: Table, queries: list[str]) -> list[str]:
    if source.column("group") is None:
        return queries
    return texts(source.values(table, "group"), table.origin, source.named("group"))


def _check_more_than_one(labels: Sequence[float], origin: Origin, what: str) -> None:
    if labels and len(set(labels)) == 1:
        raise InputError(
            f"every {what} of the {origin.name} is {labels[0]:g}; give rows with at least two different ones"
        )
