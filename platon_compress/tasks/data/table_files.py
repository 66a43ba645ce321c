"""Reads columns of .csv, .tsv, .json, .jsonl and .parquet files, with the line of every row where there are lines.

Nothing is guessed: a value is what the format says it is. A field of a .csv or .tsv file is a string, and stays one.
"""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.tasks.data.rows import Origin
from platon_compress.tasks.hub import is_fault_of_this_machine

__all__ = ["Table", "read_table"]

_LONGEST_FIELD = 2**31 - 1  # characters; csv's own limit of 131,072 is shorter than many documents


@dataclass(frozen=True)
class Table:
    """Columns of equal length by name, where the rows stand, and the names behind `ClassLabel` columns."""

    columns: Mapping[str, Sequence[Any]]
    origin: Origin
    class_names: Mapping[str, Sequence[str]]

    def column(self, name: str, key: str) -> Sequence[Any]:
        """The column that the recipe's `key` names. Raises InputError where there is none."""
        if name not in self.columns:
            raise InputError(
                f"{key} is {name!r}, but the {self.origin.name} has no such column; its columns: "
                f"{', '.join(map(str, self.columns))}"
            )
        return self.columns[name]


def read_table(path: Path, split: str) -> Table:
    """The table in `path`. Raises InputError, naming the line, where it is damaged or of another format."""
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(
            f"data.{split} {path.name!r} is none of {' '.join(_READERS)}; convert it to one of them"
        )
    try:
        return reader(path, f"{split} file {path.name}")
    except UnicodeDecodeError as error:
        raise InputError(f"data.{split} {path.name!r} is no UTF-8 text; save it as UTF-8") from error
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        if isinstance(error, InputError) or is_fault_of_this_machine(error):
            raise
        raise InputError(
            f"cannot read data.{split} {path.name!r}: {first_line(error)}; mend the file"
        ) from error


def _read_csv(path: Path, name: str) -> Table:
    # Strict, because a stray quote would otherwise change a text, or swallow the rest of the file.
    return _separated(path, name, delimiter=",", strict=True)


def _read_tsv(path: Path, name: str) -> Table:
    # GLUE's .tsv files hold bare quote characters inside sentences.
    return _separated(path, name, delimiter="\t", quoting=csv.QUOTE_NONE)


def _separated(path: Path, name: str, **dialect: Any) -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        text = file.read()
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        rows = list(_numbered_rows(text, name, dialect))
    finally:
        csv.field_size_limit(before)
    if not rows:
        raise InputError(f"the {name} is empty; its first line names the columns")
    header, body = rows[0][1], rows[1:]
    for line, fields in body:
        if len(fields) != len(header):
            raise InputError(
                f"line {line} of the {name} has {len(fields)} fields, its first line {len(header)}; mend that line"
            )
    columns: dict[str, Sequence[Any]] = {}
    for place, column in enumerate(header):
        if column in columns:
            raise InputError(f"the {name} has two columns {column!r}; rename one")
        columns[column] = [fields[place] for _, fields in body]
    return Table(columns, Origin(name, lines=[line for line, _ in body]), {})


def _numbered_rows(text: str, name: str, dialect: Mapping[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """(number of its first line, fields) of every row that is not blank."""
    reader = csv.reader(io.StringIO(text, newline=""), **dialect)
    first = 1
    try:
        for fields in reader:
            if fields:
                yield first, fields
            first = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"line {first} of the {name}: {first_line(error)}; mend that line") from error


def _read_json(path: Path, name: str) -> Table:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _json_lines(text, name)
        raise
    if isinstance(content, dict) and content and all(isinstance(v, list | dict) for v in content.values()):
        return _json_columns(content, name)
    return _objects(content if isinstance(content, list) else [content], Origin(name))


def _read_json_lines(path: Path, name: str) -> Table:
    return _json_lines(path.read_text(encoding="utf-8-sig"), name)


def _json_lines(text: str, name: str) -> Table:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise InputError(
                f"line {number} of the {name} is no JSON: {first_line(error)}; mend that line"
            ) from error
        lines.append(number)
    return _objects(rows, Origin(name, lines=lines))


def _json_columns(content: Mapping[str, Any], name: str) -> Table:
    """{column: [values]} or {column: {row: value}}, as data frames write them."""
    columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in content.items()}
    if len({len(values) for values in columns.values()}) > 1:
        raise InputError(f"the columns of the {name} differ in length; give every row all columns")
    return Table(columns, Origin(name), {})


def _objects(rows: Sequence[Any], origin: Origin) -> Table:
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(
                f"{origin.place(index)} is a {type(row).__name__}, not an object with the columns as keys; mend it"
            )
    names = dict.fromkeys(name for row in rows for name in row)
    return Table({name: [row.get(name) for row in rows] for name in names}, origin, {})


def _read_parquet(path: Path, name: str) -> Table:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingExtraError(
            ".parquet files need pyarrow, which is not installed; pip install 'platon-compress[train]'"
        ) from error
    table = parquet.read_table(path)
    columns = {column: table.column(column).to_pylist() for column in table.column_names}
    return Table(columns, Origin(name), _class_names(table.schema.metadata or {}))


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, Sequence[str]]:
    """What `datasets` wrote beside the columns whose numbers stand for names."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {}).items()
    except (ValueError, AttributeError):  # another tool's notes under the same name
        return {}
    kinds = {column: feature for column, feature in features if isinstance(feature, dict)}
    return {column: f["names"] for column, f in kinds.items() if f.get("_type") == "ClassLabel"}


_READERS: Mapping[str, Callable[[Path, str], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
}
