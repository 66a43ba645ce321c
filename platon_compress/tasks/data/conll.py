"""Reads texts as words with one tag each: CoNLL files, or tables with a list of words and a list of tags a row.

Rules of CoNLL files:

1. One word a line, a blank line between texts. The first column is the word, the last one its tag; tabs separate the
   columns where the first word's line has one, else spaces do.
2. All lines have the number of columns of that line. One that begins with `#` and has another number is a comment, any
   other is a word, such as `#` itself.
3. Lines that begin with `-DOCSTART-` part documents and hold no word.
4. Tags are those of one scheme: O, and B- I- (BIO), with E- S- (IOBES) or with L- U- (BILOU) before the name of a class.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError, shown
from platon_compress.tasks.data.rows import Origin, TaggedRows
from platon_compress.tasks.data.source import Source
from platon_compress.tasks.data.table_files import Table, explained
from platon_compress.tasks.data.values import lists, refuse

__all__ = ["ENDINGS", "read_conll", "tagged_rows"]

ENDINGS = (".conll", ".conllu", ".conll03", ".bio", ".iob", ".iob2", ".txt")
_OUTSIDE = "O"
_SCHEMES = ({"B", "I"}, {"B", "I", "E", "S"}, {"B", "I", "L", "U"})
_DOCUMENT = "-DOCSTART-"


def tagged_rows(source: Source) -> TaggedRows:
    """One text a row, as words with their tags. Raises InputError for tags of no scheme, and texts without words."""
    if source.in_files and source.path.suffix.lower() in ENDINGS:
        return read_conll(source.path, source.split, labelled=source.labelled)
    table = source.table(others=ENDINGS)
    if source.in_files and source.path.suffix == ".tsv" and source.named("text") not in table.columns:
        raise InputError(
            f"the {table.origin.name} has no column {source.named('text')!r} of words (data.text); if it holds one word "
            "a line, call it .conll"
        )
    words = _words(source.values(table, "text"), table.origin, source.named("text"))
    tags: list[list[str]] = []
    if source.labelled:
        tags = _tags(source, table)
        _check_counts(words, tags, table.origin)
        _check_scheme(tags, lambda row, _: table.origin.place(row), table.origin.name)
    return TaggedRows(words, tags, table.origin)


@dataclass
class _Text:
    """A text while its lines are read: words, tags, and the line of each."""

    words: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def read_conll(path: Path, split: str, *, labelled: bool = True) -> TaggedRows:
    """The texts of a CoNLL file; one that is not `labelled` may have words alone.

    Raises InputError, naming the line, for another number of columns, a word that is missing, and a tag of no scheme.
    """
    name = f"{split} file {path.name}"
    with explained(path, split):
        content = path.read_bytes().decode("utf-8-sig")
    # Only line feeds end a line: str.splitlines also splits at characters that stand inside words.
    found = list(_texts([line.rstrip("\r") for line in content.split("\n")], name, labelled))
    origin = Origin(name, lines=[text.lines[0] for text in found])
    tags = [text.tags for text in found] if labelled else []
    _check_no_numbers([text.words for text in found], name)
    if labelled:
        _check_scheme(tags, lambda row, word: f"line {found[row].lines[word]} of the {name}", name)
    return TaggedRows([text.words for text in found], tags, origin)


def _texts(lines: Sequence[str], name: str, labelled: bool) -> Iterator[_Text]:
    text = _Text()
    for number, columns in _split(lines, name, 2 if labelled else 1):
        if columns:
            text.words.append(columns[0])
            text.tags.append(columns[-1])
            text.lines.append(number)
        elif text.words:
            yield text
            text = _Text()
    if text.words:
        yield text


def _split(lines: Sequence[str], name: str, least: int) -> Iterator[tuple[int, list[str]]]:
    """(number, columns) of every line of a word; no columns between two texts."""
    words = [line for line in lines if _may_hold_a_word(line)]
    first = next((line for line in words if not line.startswith("#")), words[0] if words else "")
    separator = "\t" if "\t" in first else " "
    width = len(_columns(first, separator))
    for number, line in enumerate(lines, start=1):
        if not _may_hold_a_word(line):
            yield number, []
            continue
        columns = _columns(line, separator)
        if line.startswith("#") and len(columns) != width:
            continue
        if len(columns) != width or width < least:
            raise InputError(
                f"line {number} of the {name} has {_counted(len(columns))}, {_wanted(width, least)}; fix that line"
            )
        if not columns[0].strip():
            raise InputError(f"line {number} of the {name} has no word in its first column; fix that line")
        yield number, columns


def _counted(columns: int) -> str:
    return f"{columns} column{'' if columns == 1 else 's'}"


def _wanted(width: int, least: int) -> str:
    return "a word and its tag are needed" if width < least else f"the first word's line {width}"


def _columns(line: str, separator: str) -> list[str]:
    parts = line.split(separator)
    return parts if separator == "\t" else [part for part in parts if part]


def _may_hold_a_word(line: str) -> bool:
    return bool(line.strip(" \t")) and not line.startswith(_DOCUMENT)


def _words(values: Sequence[Any], origin: Origin, key: str) -> list[list[str]]:
    found = lists(values, origin, key)
    refuse(found, lambda row: not row, origin, f"has no words ({key})", "remove the row")
    refuse(
        found,
        lambda row: not all(isinstance(word, str) and word.strip() for word in row),
        origin,
        f"has a word that is empty or no text ({key})",
        "give a list of words",
    )
    return found


def _tags(source: Source, table: Table) -> list[list[str]]:
    key = source.named("label")
    found = lists(source.values(table, "label"), table.origin, key)
    names = table.class_names.get(key)
    if names is not None:
        refuse(
            found,
            lambda row: any(not isinstance(tag, int) or not 0 <= tag < len(names) for tag in row),
            table.origin,
            f"has a tag that is none of the {len(names)} class numbers ({key})",
            "fix the data, or name a labelled split",
        )
        return [[names[tag] for tag in row] for row in found]
    refuse(
        found,
        lambda row: not all(isinstance(tag, str) for tag in row),
        table.origin,
        f"has tags without names ({key})",
        "write the tags as O, B-NAME and I-NAME, or keep the names of datasets' ClassLabel (Parquet)",
    )
    return found


def _check_counts(words: Sequence[Sequence[str]], tags: Sequence[Sequence[str]], origin: Origin) -> None:
    for index, (row, given) in enumerate(zip(words, tags, strict=True)):
        if len(row) != len(given):
            raise InputError(
                f"{origin.place(index)} has {len(row)} words, but {len(given)} tags; give every word one tag"
            )


def _check_scheme(tags: Sequence[Sequence[str]], place: Callable[[int, int], str], name: str) -> None:
    """Raises InputError for the first tag of no scheme, for two schemes at once, and where nothing is an entity."""
    seen: dict[str, str] = {}
    for row, given in enumerate(tags):
        for word, tag in enumerate(given):
            prefix, dash, kind = tag.partition("-")
            if tag == _OUTSIDE:
                continue
            if not dash or not kind or prefix not in "BIESLU" or len(prefix) != 1:
                raise InputError(
                    f"{place(row, word)}: the tag {shown(tag)} is of no BIO scheme; write O outside of entities, B-NAME "
                    "for the first word of one and I-NAME for the words that follow"
                )
            seen.setdefault(prefix, place(row, word))
    if tags and not seen:
        raise InputError(
            f"every tag of the {name} is O, so that there is no entity to learn; check its last column"
        )
    if not any(seen.keys() <= scheme for scheme in _SCHEMES):
        late = next(prefix for prefix in seen if prefix in "LU")
        raise InputError(
            f"{seen[late]} has a tag {late}-, but others are E- or S-: two schemes in one; write E- for L-, and S- for U-"
        )


def _check_no_numbers(words: Sequence[Sequence[str]], name: str) -> None:
    """CoNLL-U and GermEval count the words in the first column: that would be trained on, the words would not."""
    counted = [[str(number) for number in range(1, len(row) + 1)] for row in words]
    if list(map(list, words)) == counted and any(len(row) > 1 for row in words):
        raise InputError(
            f"the first column of the {name} counts the words; take it out, so that the word stands first"
        )
