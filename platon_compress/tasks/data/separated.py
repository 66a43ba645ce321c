"""Reads .csv and .tsv files: fields by name of column, the line of every row, and whether a tab file's quotes are quotes.

A .tsv file says nowhere whether it quotes. Those of GLUE do not: a quote is a character of the sentence. Those that
data frames and spreadsheets write do: a field with tabs or line breaks stands in quotes, and quotes in it are doubled.

Rules (`bare`: the file read as if quotes were characters; `quoted`: read strictly as if they were quotes):

1. No field begins with a quote, or `quoted` fails: bare.
2. Every line of `bare` has as many fields as the first, and `quoted` has the same rows. Then quotes are quotes where all
   names in the first line stand in quotes, or a field has doubled quotes inside (nobody else doubles them).
3. Every line of `bare` and every row of `quoted` does, but `quoted` holds lines together. Then the columns beside the
   quotes tell: bare where one of them holds numbers alone, or nothing on those lines that it does not hold on others;
   else quoted where one of them holds numbers alone; else it is refused.
4. Not every line of `bare` does. Then only `quoted` can be right; a field of it that swallows what looks like rows is
   refused.
5. A file of one column has neither widths nor other columns to tell by: two readings with different rows are refused.
"""

import bisect
import csv
import io
from collections import Counter
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
    if any(len(row.fields) != width for row in bare):
        _refuse_swallowed_rows(quoted, width, name)
        return True
    if any(len(row.fields) != width for row in quoted):
        return False
    if len(bare) != len(quoted):
        return _hold_lines_together(bare, quoted, name)
    if all(field.startswith(_QUOTE) for field in bare[0].fields):
        return True
    fields = zip(
        (f for row in bare for f in row.fields), (f for row in quoted for f in row.fields), strict=True
    )
    return any(_QUOTE in read for raw, read in fields if raw.startswith(_QUOTE))


def _hold_lines_together(bare: Sequence[_Row], quoted: Sequence[_Row], name: str) -> bool:
    held = _held(bare, quoted)
    quoting = {
        c for row in held for c, field in enumerate(row.fields) if field[:1] == _QUOTE or field[-1:] == _QUOTE
    }
    others = [column for column in range(len(bare[0].fields)) if column not in quoting]
    lines = {row.line for row in held}
    alone = [row for row in bare[1:] if row.line not in lines]
    for column in others:
        inside = {row.fields[column] for row in held}
        outside = {row.fields[column] for row in alone}
        if inside <= outside or all(map(_is_number, inside | outside)):
            return False
    if any(all(_is_number(row.fields[column]) for row in quoted[1:]) for column in others):
        return True
    raise InputError(
        f"the {name} has {len(bare) - 1} rows where its quotes are characters, but {len(quoted) - 1} where they are "
        f"quotes (see line {held[0].line}); save it as .csv or .jsonl, which leave no doubt"
    )


def _held(bare: Sequence[_Row], quoted: Sequence[_Row]) -> list[_Row]:
    """The lines that stand in one row with others where quotes are quotes."""
    starts = [row.line for row in quoted]
    rows = [bisect.bisect_right(starts, row.line) for row in bare]
    counted = Counter(rows)
    return [row for row, number in zip(bare, rows, strict=True) if counted[number] > 1]


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


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
                f"line {row.line} of the {name} has {len(row.fields)} fields, its first line {len(header)}; fix that line"
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
        raise InputError(f"line {first} of the {name}: {first_line(error)}; fix that line") from error
