"""Reads texts, or pairs of texts, with the labels of one of the problems of text-classification."""

from typing import Any

from platon_compress.errors import InputError
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.data.source import Source
from platon_compress.tasks.data.table_files import Table
from platon_compress.tasks.data.values import (
    class_labels,
    multi_hot,
    multi_labels,
    number_labels,
    text_pairs,
    texts,
)

__all__ = ["labelled_rows"]


def labelled_rows(source: Source) -> Rows:
    """One text or pair a row, with a class, classes or a number as `data.problem` says."""
    table = source.table()
    return Rows(_inputs(source, table), _labels(source, table) if source.labelled else (), table.origin)


def _inputs(source: Source, table: Table) -> list[Any]:
    first = source.values(table, "text")
    if source.column("text_pair") is None:
        return texts(first, table.origin, source.named("text"))
    keys = (source.named("text"), source.named("text_pair"))
    return text_pairs(first, source.values(table, "text_pair"), table.origin, keys)


def _labels(source: Source, table: Table) -> list[Any]:
    if source.data.label_columns:
        columns = {name: table.column(name, "data.label_columns") for name in source.data.label_columns}
        return multi_hot(columns, table.origin)
    values, names = source.values(table, "label"), table.class_names.get(source.named("label"))
    if source.data.problem == "multi-label":
        return multi_labels(values, table.origin, names)
    if source.data.problem == "single-label":
        return class_labels(values, table.origin, names)
    if names is not None:
        raise InputError(
            f"data.label {source.named('label')!r} of the {table.origin.name} holds classes ({', '.join(names[:5])}), "
            "no numbers to predict; name another column, or leave data.problem=regression out"
        )
    return number_labels(values, table.origin)
