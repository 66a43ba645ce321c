"""Fuzz targets of the files with rows, for every task that reads them."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fuzzing.reader import Reader

from platon_compress.recipe import DataSection
from platon_compress.tasks.data.table_files import explained, read_table
from platon_compress.tasks.data.tables import read_split

__all__ = ["DATA_READERS"]

_TABLE = b'id,sentence,label\n1,"a, b",good\n2,"say ""x""",bad\n3,plain words,good\n4,"two\nlines",bad\n'
_TAB = b'id\tsentence\tlabel\n1\ta b\tgood\n2\t"quoted"\tbad\n3\tplain\tgood\n'
_NUMBERS = b"sentence,label\nfirst,0.5\nsecond,-3\nthird,1e3\n"
_ROWS = [
    {"sentence": "one", "label": "good"}, {"sentence": "two é", "label": "bad"}, {"sentence": "three", "label": "good"},
]  # fmt: skip
_CONLL = b"-DOCSTART- -X- O O\n\nEU NNP B-NP B-ORG\nrejects VBZ B-VP O\nGerman JJ B-NP B-MISC\n\nPeter NNP B-NP B-PER\n"
_TWO = b"# id 1\nEU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n"
_CONTEXT = "Ada left Turin in May, and Turin was glad."
_PAIRS = b"sentence1,sentence2,score\na cat,a dog,0.5\nhe runs,she runs,4.2\nx,y,0\n"


def _lines(rows: Sequence[Mapping[str, object]]) -> bytes:
    return b"\n".join(json.dumps(row).encode() for row in rows)


def _squad() -> tuple[bytes, ...]:
    answers = [{"text": "Turin", "answer_start": 9}]
    asked = {"id": "q1", "question": "Where?", "answers": answers}
    impossible = {"id": "q2", "question": "Who?", "answers": [], "is_impossible": True}
    paragraphs = [{"context": _CONTEXT, "qas": [asked, impossible]}]
    nested = {"version": "v2.0", "data": [{"title": "Turin", "paragraphs": paragraphs}]}
    flat = [{"question": "Where?", "context": _CONTEXT, "answers": {"text": ["Turin"], "answer_start": [9]}}]
    return json.dumps(nested).encode(), json.dumps({"data": flat}).encode()


def _split(task: str, **columns: object) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        section = DataSection(train=str(path), validation=str(path), **columns)  # type: ignore[arg-type]
        rows = read_split(section, "train", task, 1)
        return len(rows), len(read_split(section, "train", task, 1, labelled=False))

    return read


def _is_table(path: Path) -> object:
    return read_table(path, "train")


def _is_text(path: Path) -> object:
    with explained(path, "train"):
        return path.read_bytes().decode("utf-8-sig")


_TEXT = "text-classification"
_CLASSES = _split(_TEXT, text="sentence", label="label")
_SCORED = _lines([{"sentence": "one", "label": 0.5}, {"sentence": "two", "label": -3}])
_PASSAGES = _lines([{"query": "q", "passage": "p", "label": 1}, {"query": "q", "passage": "r", "label": 0}])

DATA_READERS = (
    Reader("csv", "rows of a .csv file", "bytes", "train.csv", lambda: (_TABLE, _TABLE * 3), _is_table, _CLASSES),
    Reader("tsv", "rows of a .tsv file", "bytes", "train.tsv", lambda: (_TAB, _TAB * 3), _is_table, _CLASSES),
    Reader(
        "regression", "numbers of a .csv file", "bytes", "train.csv", lambda: (_NUMBERS,), _is_table,
        _split(_TEXT, text="sentence", label="label", problem="regression"),
    ),
    Reader(
        "regression-jsonl", "numbers of a .jsonl file", "json lines", "train.jsonl", lambda: (_SCORED,), _is_table,
        _split(_TEXT, text="sentence", label="label", problem="regression"),
    ),
    Reader("jsonl", "rows of a .jsonl file", "json lines", "train.jsonl", lambda: (_lines(_ROWS),), _is_table, _CLASSES),
    Reader("json", "rows of a .json file", "json", "train.json", lambda: (json.dumps(_ROWS).encode(),), _is_table, _CLASSES),
    Reader(
        "conll", "words and tags of a CoNLL file", "bytes", "train.conll", lambda: (_CONLL, _TWO), _is_text,
        _split("token-classification"),
    ),
    Reader("squad", "questions in SQuAD's layouts", "json", "train.json", _squad, _is_table, _split("question-answering")),
    Reader(
        "pairs", "scored pairs of a .csv file", "bytes", "train.csv", lambda: (_PAIRS,), _is_table,
        _split("sentence-similarity", text="sentence1", text_pair="sentence2", label="score"),
    ),
    Reader(
        "ranking", "passages by query", "json lines", "train.jsonl", lambda: (_PASSAGES,), _is_table,
        _split("text-ranking", text="query", text_pair="passage", label="label"),
    ),
)  # fmt: skip
