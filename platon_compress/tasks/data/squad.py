"""Reads questions about texts: SQuAD's nested JSON (versions 1 and 2), or a table with a question a row.

Rules:

1. An answer is a text and the number of its first character, counted from 0; the context must hold it there.
2. A question without an answer has an empty list of them (or SQuAD's `is_impossible`); a missing list is refused.
3. The group of a question is its column `data.group`, else its article (`title`), else its context.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from platon_compress.errors import InputError, shown
from platon_compress.tasks.data.rows import Origin, QuestionRows
from platon_compress.tasks.data.source import Source
from platon_compress.tasks.data.table_files import Table, table_of
from platon_compress.tasks.data.values import refuse, texts

__all__ = ["question_rows"]

_ID, _TITLE = "id", "title"
_Answers = list[tuple[str, int]]


def question_rows(source: Source) -> QuestionRows:
    """One question with its context a row. Raises InputError for an answer that its context does not hold."""
    table = source.table(_ID, _TITLE)
    articles = _articles(table, source.named("text"))
    if articles is not None:
        table = _flat(articles, table.origin, source)
    questions = texts(source.values(table, "text"), table.origin, source.named("text"))
    contexts = texts(source.values(table, "text_pair"), table.origin, source.named("text_pair"))
    answers: list[_Answers] = []
    if source.labelled:
        answers = _answers(source.values(table, "label"), contexts, table.origin, source.named("label"))
        if not any(answers):
            raise InputError(
                f"no question of the {table.origin.name} has an answer; give rows with answers to learn from"
            )
    return QuestionRows(
        _ids(table, len(questions)),
        questions,
        contexts,
        _groups(source, table, contexts),
        answers,
        table.origin,
    )


def _articles(table: Table, question: str) -> list[Any] | None:
    """What SQuAD's files hold under `data`: articles, or rows as some tools write them; None for a plain table."""
    if "data" not in table.columns or question in table.columns or not len(table.columns["data"]):
        return None
    column = table.columns["data"]
    found = column[0] if len(column) == 1 and isinstance(column[0], list) else column
    return list(found) if all(isinstance(article, dict) for article in found) else None


def _flat(articles: Sequence[Mapping[str, Any]], origin: Origin, source: Source) -> Table:
    """The questions of all articles as a table, under the names that the recipe reads."""
    if not any("paragraphs" in article for article in articles):
        return table_of(articles, Origin(origin.name))
    names = (_ID, _TITLE, source.named("text"), source.named("text_pair"), source.named("label"))
    rows = [row for number, article in enumerate(articles, 1) for row in _rows(article, number, origin)]
    if not rows:
        raise InputError(f"the {origin.name} holds no questions; give one with at least one")
    whole = Origin(origin.name, ids=[row[0] for row in rows])
    return table_of([dict(zip(names, row, strict=True)) for row in rows], whole)


def _rows(article: Mapping[str, Any], number: int, origin: Origin) -> Iterator[tuple[Any, ...]]:
    place = f"article {number} of the {origin.name}"
    title = article.get("title")
    for paragraph in _listed(article, "paragraphs", place):
        inside = f"{place} ({shown(title)})" if title else place
        for question in _listed(paragraph, "qas", inside):
            answers = [] if question.get("is_impossible") else question.get("answers")
            yield question.get("id"), title, question.get("question"), paragraph.get("context"), answers


def _listed(holder: Mapping[str, Any], key: str, place: str) -> list[Mapping[str, Any]]:
    found = holder.get(key)
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{place} has no list of objects under {key!r}; fix the file, or give a table")
    return found


def _answers(values: Sequence[Any], contexts: Sequence[str], origin: Origin, key: str) -> list[_Answers]:
    values = list(values)
    refuse(
        values,
        lambda value: value is None or value == "",
        origin,
        f"has no answers ({key})",
        "write an empty list where the context does not say",
    )
    found = [_pairs(value) for value in values]
    wrong = [value if pairs is None else None for value, pairs in zip(values, found, strict=True)]
    refuse(
        wrong,
        lambda value: value is not None,
        origin,
        f"holds no answers under {key}",
        'write {"text": ["..."], "answer_start": [0]}',
    )
    answers = [pairs for pairs in found if pairs is not None]
    for index, pairs in enumerate(answers):
        for text, start in pairs:
            _check_answer(text, start, contexts[index], origin.place(index))
    return answers


def _pairs(value: Any) -> _Answers | None:
    """(text, start) of {text: [...], answer_start: [...]} or [{text, answer_start}], also as a text file spells them."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return None
    if isinstance(value, dict):
        said, starts = value.get("text"), value.get("answer_start")
        if (
            not isinstance(said, list | tuple)
            or not isinstance(starts, list | tuple)
            or len(said) != len(starts)
        ):
            return None
        found = list(zip(said, starts, strict=True))
    elif isinstance(value, list | tuple) and all(isinstance(answer, dict) for answer in value):
        found = [(answer.get("text"), answer.get("answer_start")) for answer in value]
    else:
        return None
    good = all(isinstance(text, str) and isinstance(start, int) for text, start in found)
    return list(dict.fromkeys(found)) if good else None


def _check_answer(text: str, start: int, context: str, place: str) -> None:
    """Raises InputError, saying where it stands instead, for an answer that is not where it should be."""
    if not text.strip():
        raise InputError(f"{place} has a blank answer; write an empty list where the context does not say")
    if start >= 0 and context.startswith(text, start):
        return
    said = f"{place}: the answer {shown(text)} does not stand at character {start} of its context"
    count = context.count(text)
    if count == 1:
        raise InputError(f"{said}, but at {context.index(text)}; set answer_start to that")
    elsewhere = f", but at {count} other places" if count else ", nor anywhere else in it"
    raise InputError(f"{said}{elsewhere}; fix the answer or its answer_start")


def _ids(table: Table, count: int) -> list[str]:
    """The ids of the questions, or their row numbers. Raises InputError for one that two questions have."""
    given = list(table.columns.get(_ID, ()))
    if all(value is None for value in given):
        return [str(number) for number in range(1, count + 1)]
    ids = texts(given, table.origin, _ID)
    first = {id_: index for index, id_ in reversed(list(enumerate(ids)))}
    refuse(
        [id_ if first[id_] != index else None for index, id_ in enumerate(ids)],
        lambda value: value is not None,
        table.origin,
        "has the id of an earlier row",
        "give every question an id of its own",
    )
    return ids


def _groups(source: Source, table: Table, contexts: list[str]) -> list[str]:
    if source.column("group") is not None:
        return texts(source.values(table, "group"), table.origin, source.named("group"))
    titles = table.columns.get(_TITLE, ())
    return [
        str(title) if title else context
        for title, context in zip(titles or [None] * len(contexts), contexts, strict=True)
    ]
