"""Reads .csv and .tsv files: fields by name of column, the line of every row, and whether a tab file's quotes are quotes.

A .tsv file says nowhere whether it quotes. Those of GLUE do not: a quote is a character of the sentence. Those that
data frames and spreadsheets write do: a field with tabs or line breaks stands in quotes, and quotes in it are doubled.

Rules (`bare`: the file read as if quotes were characters; `quoted`: read strictly as if they were quotes):

1. No field begins with a quote, or `quoted` fails: bare.
2. Every line of `bare` has as many fields as the first. Then quotes hold no rows together; they are quotes where
   `quoted` has the same rows, and all names in the first line stand in quotes, or a field has doubled quotes inside
   (nobody else doubles them).
3. Else only `quoted` can be right, unless a field of it swallows what looks like rows: that is refused.
4. A file of one column has no widths to tell by: where the two readings differ in their rows, it is refused.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from platon_compress.errors import InputError, first_line
from platon_compress.tasks.data.rows import Origin

__all__ = ["comma_separated", "tab_separated"]

_LONGEST_FIELD = 2**31 - 1  # characters; csv's own limit of 131,072 is shorter than many documents
_QUOTE = '"'


class _Row(NamedTuple):
    line: int  # where it begins, from 1
    fields: list[str]


Columns = tuple[dict[str, Sequence[Any]], Origin]


def comma_separated(text: str, name: str) -> Columns:
    """The columns of a .csv file. Raises InputError, naming the line, where it is damaged."""
    # Strict, because a stray quote would otherwise change a text, or swallow the rest of the file.
    return _columns(_rows(text, name, {"delimiter": ",", "strict": True}), name)


def tab_separated(text: str, name: str) -> Columns:
    """The columns of a .tsv file, with or without quotes. Raises InputError, naming the line, where it is damaged."""
    bare = _rows(text, name, {"delimiter": "\t", "quoting": csv.QUOTE_NONE})
    if not any(field.startswith(_QUOTE) for row in bare for field in row.fields):
        return _columns(bare, name)
    try:
        quoted = _rows(text, name, {"delimiter": "\t", "strict": True})
    except InputError:
        return _columns(bare, name)
    return _columns(quoted if _quotes_are_quotes(bare, quoted, name) else bare, name)


def _quotes_are_quotes(bare: Sequence[_Row], quoted: Sequence[_Row], name: str) -> bool:
    width = len(bare[0].fields)
    if width == 1 and len(bare) != len(quoted):
        raise InputError(
            f"the {name} has one column, and {len(bare) - 1} rows where quotes are characters, but {len(quoted) - 1} "
            "where they are quotes; save it as .csv or .jsonl, which leave no doubt"
        )
    if any(len(row.fields) != width for row in bare):
        _refuse_swallowed_rows(quoted, width, name)
        return True
    if [len(row.fields) for row in bare] != [len(row.fields) for row in quoted]:
        return False
    if all(field.startswith(_QUOTE) for field in bare[0].fields):
        return True
    fields = zip(
        (f for row in bare for f in row.fields), (f for row in quoted for f in row.fields), strict=True
    )
    return any(_QUOTE in read for raw, read in fields if raw.startswith(_QUOTE))


def _refuse_swallowed_rows(quoted: Sequence[_Row], width: int, name: str) -> None:
    """A quote that belongs to a sentence may hold many rows together up to the next one."""
    for row in quoted:
        for field in row.fields:
            inside = field.split("\n")[1:-1]
            alike = sum(line.count("\t") == width - 1 for line in inside)
            if width > 1 and alike > 1 and 2 * alike > len(inside):
                raise InputError(
                    f"line {row.line} of the {name} opens a quote that is closed {len(inside) + 1} lines below, with rows "
                    "between; double or remove quotes that belong to a text, or save the file as .csv or .jsonl"
                )


def _columns(rows: Sequence[_Row], name: str) -> Columns:
    if not rows:
        raise InputError(f"the {name} is empty; its first line names the columns")
    header, body = rows[0].fields, rows[1:]
    for row in body:
        if len(row.fields) != len(header):
            raise InputError(
                f"line {row.line} of the {name} has {len(row.fields)} fields, its first line {len(header)}; mend that line"
            )
    columns: dict[str, Sequence[Any]] = {}
    for place, column in enumerate(header):
        if column in columns:
            raise InputError(f"the {name} has two columns {column!r}; rename one")
        columns[column] = [row.fields[place] for row in body]
    return columns, Origin(name, lines=[row.line for row in body])


def _rows(text: str, name: str, dialect: Mapping[str, Any]) -> list[_Row]:
    """Every row that is not blank."""
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        return list(_numbered(text, name, dialect))
    finally:
        csv.field_size_limit(before)


def _numbered(text: str, name: str, dialect: Mapping[str, Any]) -> Iterator[_Row]:
    reader = csv.reader(io.StringIO(text, newline=""), **dialect)
    first = 1
    try:
        for fields in reader:
            if fields:
                yield _Row(first, fields)
            first = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"line {first} of the {name}: {first_line(error)}; mend that line") from error
