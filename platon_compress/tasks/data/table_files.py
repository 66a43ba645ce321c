"""Reads columns of .csv, .tsv, .json, .jsonl and .parquet files, with the line of every row where there are lines.

Nothing is guessed: a value is what the format says it is. A field of a .csv or .tsv file is a string, and stays one.
"""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError, MissingExtraError, first_line, shown
from platon_compress.tasks.data.rows import Origin
from platon_compress.tasks.data.separated import comma_separated, tab_separated
from platon_compress.tasks.hub import is_fault_of_this_machine

__all__ = ["TEXTS", "Table", "explained", "read_table", "table_of"]


TEXTS = ".txt"
"""Ending of a file with a text a line."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length by name, where the rows stand, and the names behind `ClassLabel` columns."""

    columns: Mapping[str, Sequence[Any]]
    origin: Origin
    class_names: Mapping[str, Sequence[str]]

    def column(self, name: str, key: str) -> Sequence[Any]:
        """The column that the recipe's `key` names. Raises InputError where there is none."""
        if not self.columns:
            raise InputError(f"the {self.origin.name} holds no rows; give one with at least one")
        if name not in self.columns:
            raise InputError(
                f"{key} is {name!r}, but the {self.origin.name} has no such column; its columns: "
                f"{', '.join(map(str, self.columns))}"
            )
        return self.columns[name]

    def called(self, name: str) -> "Table":
        """The table of one column, called `name`: lines of texts have no name of their own."""
        (values,) = self.columns.values()
        return replace(self, columns={name: values})


def read_table(path: Path, split: str, others: Sequence[str] = ()) -> Table:
    """The table in `path`. Raises InputError, naming the line, where it is damaged or of another format.

    others: endings of files that the caller reads by itself, for the message.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        endings = " ".join(dict.fromkeys((*_READERS, *others)))
        raise InputError(f"data.{split} {path.name!r} is none of {endings}; convert it to one of them")
    with explained(path, split):
        return reader(path, f"{split} file {path.name}")


@contextlib.contextmanager
def explained(path: Path, split: str) -> Iterator[None]:
    """Inside, what goes wrong with a file gets one line; what the machine cannot do passes."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(f"data.{split} {path.name!r} is no UTF-8 text; save it as UTF-8") from error
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        if isinstance(error, InputError) or is_fault_of_this_machine(error):
            raise
        raise InputError(
            f"cannot read data.{split} {path.name!r}: {first_line(error)}; fix the file"
        ) from error


def _read_csv(path: Path, name: str) -> Table:
    return Table(*comma_separated(_text_of(path), name), {})


def _read_tsv(path: Path, name: str) -> Table:
    return Table(*tab_separated(_text_of(path), name), {})


def _read_lines(path: Path, name: str) -> Table:
    """A text a line, for those who have nothing but texts; empty lines are none."""
    # Only line feeds end a line: str.splitlines also splits at characters that stand inside texts.
    found = {i: line.strip() for i, line in enumerate(_text_of(path).split("\n"), 1) if line.strip()}
    return Table({"text": list(found.values())}, Origin(name, lines=list(found)), {})


def _text_of(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return file.read()


def _read_json(path: Path, name: str) -> Table:
    text = path.read_text(encoding="utf-8-sig")
    try:
        content = _parsed(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            return _json_lines(text, name)
        raise
    if isinstance(content, dict) and content and all(isinstance(v, list | dict) for v in content.values()):
        return _json_columns(content, name)
    return table_of(content if isinstance(content, list) else [content], Origin(name))


def _read_json_lines(path: Path, name: str) -> Table:
    return _json_lines(path.read_text(encoding="utf-8-sig"), name)


def _json_lines(text: str, name: str) -> Table:
    rows, lines = [], []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append(_parsed(line))
        except ValueError as error:
            raise InputError(
                f"line {number} of the {name} is no JSON: {first_line(error)}; fix that line"
            ) from error
        lines.append(number)
    return table_of(rows, Origin(name, lines=lines))


def _parsed(text: str) -> Any:
    """The JSON value, or ValueError also where Python's reader would take what is no text or drop a value."""
    value = json.loads(text, object_pairs_hook=_without_doubles)
    if "\\ud" in text.lower():  # halves of pairs, which no encoder and no file takes
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise ValueError(f"\\u{ord(half):04x} is half of a character") from None
    return value


def _without_doubles(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"the key {shown(twice)} stands twice in one object")
    return value


def _json_columns(content: Mapping[str, Any], name: str) -> Table:
    """{column: [values]} or {column: {row: value}}, as data frames write them."""
    columns = {k: list(v.values()) if isinstance(v, dict) else v for k, v in content.items()}
    if len({len(values) for values in columns.values()}) > 1:
        raise InputError(f"the columns of the {name} differ in length; give every row all columns")
    return Table(columns, Origin(name), {})


def table_of(rows: Sequence[Any], origin: Origin) -> Table:
    """The table of objects with the columns as keys; None where one has no such key."""
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            raise InputError(
                f"{origin.place(index)} is a {type(row).__name__}, not an object with the columns as keys; fix it"
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
    kinds = {column: _innermost(feature) for column, feature in features}
    return {column: f["names"] for column, f in kinds.items() if f.get("_type") == "ClassLabel"}


def _innermost(feature: Any) -> dict[str, Any]:
    """What the elements of a list are, however `datasets` of some version writes the list; else the feature itself."""
    while True:
        if isinstance(feature, list) and len(feature) == 1:
            feature = feature[0]
        elif isinstance(feature, dict) and {"feature", "_type"} <= feature.keys():
            feature = feature["feature"]
        else:
            return feature if isinstance(feature, dict) else {}


_READERS: Mapping[str, Callable[[Path, str], Table]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
    TEXTS: _read_lines,
}
