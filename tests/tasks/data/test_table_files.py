"""Damaged tables are named by line; tables of any common layout are read."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.tasks.data.table_files import read_table


def _read(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path, "train")


def test_lines_count_those_inside_quotes(tmp_path):
    table = _read(tmp_path, "t.csv", '\ufefftext,label\n"two\nlines",x\n\nb,y\n')
    assert list(table.columns["text"]) == ["two\nlines", "b"]
    assert [table.origin.place(i) for i in (0, 1)] == [
        "row 1 (line 2) of the train file t.csv",
        "row 2 (line 5) of the train file t.csv",
    ]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "text,label\na,x\nb\n", r"line 3 of the train file t\.csv has 1 fields, its first line 2"),
        ("t.csv", "text,label\na,x\nb,y,z\n", r"line 3 of the train file t\.csv has 3 fields"),
        ("t.csv", 'text,label\na,x\n"b,y\n', r"line 3 of the train file t\.csv: unexpected end"),
        ("t.csv", "text,text\na,x\n", r"two columns 'text'"),
        ("t.csv", "", r"is empty; its first line names the columns"),
        ("t.tsv", b"text\tlabel\n\xff\xfe\tx\n", r"'t\.tsv' is no UTF-8 text"),
        ("t.jsonl", '{"text": "a"}\n{"text": \n', r"line 2 of the train file t\.jsonl is no JSON"),
        (
            "t.jsonl",
            '{"text": "a \\ud83d\\ude00"}\n{"text": "b \\uDE00"}\n',
            r"line 2 of the train file t\.jsonl is no JSON: \\ude00 is half of a character; fix that line",
        ),
        (
            "t.json",
            '[{"text": "a", "label": 1, "text": "b"}]',
            r"the key 'text' stands twice in one object; fix",
        ),
        ("t.jsonl", '{"text": "a"}\n[1]\n', r"row 2 \(line 2\) .* is a list, not an object"),
        ("t.json", '{"text": ["a"], "label": [1, 2]}', r"columns of the train file t\.json differ in length"),
        ("t.json", "[" * 100_000, r"cannot read data\.train 't\.json'"),
        ("t.parquet", b"PAR1 no parquet", r"cannot read data\.train 't\.parquet'"),
    ],
)
def test_damage_is_one_line(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, name, text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.json", '[{"text": "a", "label": 1}, {"text": "b", "label": 0}]'),
        ("t.json", '{"text": "a", "label": 1}\n{"text": "b", "label": 0}\n'),
        ("t.json", '{"text": ["a", "b"], "label": [1, 0]}'),
        ("t.json", '{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}'),
        ("t.jsonl", '{"text": "a", "label": 1}\n\n{"text": "b", "label": 0}'),
    ],
)
def test_layouts_of_json(tmp_path, name, text):
    table = _read(tmp_path, name, text)
    assert (list(table.columns["text"]), list(table.columns["label"])) == (["a", "b"], [1, 0])


def test_a_field_may_be_a_whole_document(tmp_path):
    long = "word " * 40_000
    assert _read(tmp_path, "t.csv", f"text,label\n{long},x\n").columns["text"] == [long]


_CLASSES = {"names": ["no", "yes"], "_type": "ClassLabel"}


@pytest.mark.parametrize(
    "feature",
    [
        _CLASSES,
        {"feature": _CLASSES, "_type": "Sequence"},
        {"feature": _CLASSES, "length": -1, "_type": "List"},
        {"feature": {"feature": _CLASSES, "_type": "List"}, "_type": "LargeList"},
        [_CLASSES],
    ],
)
def test_names_behind_numbers_however_datasets_wrote_them(tmp_path, feature):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    features = {
        "label": feature,
        "text": {"dtype": "string", "_type": "Value"},
        "odd": {"feature": {"dtype": "x"}},
    }
    table = pyarrow.table({"text": ["a"], "label": [[1]], "odd": ["b"]})
    notes = {"huggingface": json.dumps({"info": {"features": features}})}
    parquet.write_table(table.replace_schema_metadata(notes), tmp_path / "t.parquet")
    assert read_table(tmp_path / "t.parquet", "train").class_names == {"label": ["no", "yes"]}
