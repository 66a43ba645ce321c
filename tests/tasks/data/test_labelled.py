"""The problems of text-classification: a class, classes or a number a row, and what is none of them."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.rows import Origin
from platon_compress.tasks.data.tables import read_split
from platon_compress.tasks.data.values import multi_hot, multi_labels, number_labels

NAN = float("nan")


def _read(path, **values):
    section = DataSection(train=str(path), validation=str(path), **values)
    return read_split(section, "train", "text-classification", 1)


def test_numbers_are_numbers_in_every_spelling():
    assert number_labels([1, 2.5, "3.75", " 4 ", "1e-3", "-2"], Origin()) == [
        1.0,
        2.5,
        3.75,
        4.0,
        0.001,
        -2.0,
    ]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"row 2 of the data has no label; remove"),
        (NAN, r"row 2 of the data has no label"),
        ("", r"row 2 of the data has no label"),
        ("NaN", r"row 2 of the data has no label"),
        ("good", r"row 2 .* has a label that is no number: 'good'"),
        ("1_000", r"no number: '1_000'"),
        ("1,5", r"no number: '1,5'"),
        (True, r"no number: 'True'"),
        (float("inf"), r"row 2 .* not finite: 'inf'"),
        ("-inf", r"row 2 .* not finite: '-inf'"),
        ("1e999", r"row 2 .* not finite"),
        ([1.0], r"row 2 .* has a list of labels, but needs one number"),
    ],
)
def test_what_is_no_number_is_refused(value, message):
    with pytest.raises(InputError, match=message):
        number_labels([1.0, value], Origin())


def test_lists_of_classes_in_every_spelling():
    spellings = [["a", "b"], ("a",), '["a", "b"]', "['a', 'b']", "[]", []]
    assert multi_labels(spellings, Origin()) == [("a", "b"), ("a",), ("a", "b"), ("a", "b"), (), ()]
    assert multi_labels([[1, 2.0], "[3]"], Origin()) == [("1", "2"), ("3",)]
    assert multi_labels([[1], [], [0, 1]], Origin(), ["no", "yes"]) == [("yes",), (), ("no", "yes")]


@pytest.mark.parametrize(
    ("value", "names", "message"),
    [
        (None, None, r"row 2 .* has no list \(label\); write \[\] for an empty one"),
        ("", None, r"row 2 .* has no list"),
        ("a", None, r"row 2 .* holds no list under label: 'a'; write a list"),
        ("[a, b]", None, r"row 2 .* holds no list under label"),
        (3, None, r"row 2 .* holds no list under label: '3'"),
        ([["a"]], None, r"row 2 .* has a list with a label that is no class"),
        (["a", None], None, r"row 2 .* has a list with a label that is no class"),
        ([NAN], None, r"row 2 .* has a list with a label that is no class"),
        ([1, 1], None, r"row 2 .* names a class twice.*one column each \(data\.label_columns\)"),
        ([2], ["no", "yes"], r"row 2 .* none of the 2 class numbers"),
        ([-1], ["no", "yes"], r"row 2 .* none of the 2 class numbers"),
    ],
)
def test_what_is_no_list_of_classes_is_refused(value, names, message):
    with pytest.raises(InputError, match=message):
        multi_labels([[], value], Origin(), names)


def test_a_column_of_zeros_and_ones_per_class():
    columns = {"rude": [1, "0", True, "1.0"], "angry": [1, 1, "False", "0"]}
    assert multi_hot(columns, Origin()) == [("rude", "angry"), ("angry",), ("rude",), ("rude",)]
    for value in (2, "", None, "yes", 0.5, NAN):
        with pytest.raises(InputError, match=r"row 2 of the data has neither 0 nor 1 under angry"):
            multi_hot({"rude": [1, 0], "angry": [1, value]}, Origin())


def test_several_labels_of_files(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('text,label,rude,angry\nx,"[""rude"", ""angry""]",1,1\ny,[],0,0\n')
    for values in ({}, {"label_columns": ("rude", "angry")}):
        assert _read(path, problem="multi-label", **values).labels == [("rude", "angry"), ()]
    with pytest.raises(InputError, match=r"row 1 .* has a list of labels.*set data\.problem=multi-label"):
        _read(path)
    with pytest.raises(InputError, match=r"data\.label_columns is 'kind', but .* has no such column"):
        _read(path, problem="multi-label", label_columns=("rude", "kind"))


def test_numbers_of_files(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"text": "a", "label": y}) + "\n" for y in (0.25, "3")))
    assert _read(path, problem="regression").labels == [0.25, 3.0]
    with pytest.raises(InputError, match=r"with a fraction.*set data\.problem=regression"):
        _read(path)


def test_classes_of_a_data_set(tmp_path):
    datasets = pytest.importorskip("datasets")
    one = datasets.ClassLabel(names=["no", "yes"])
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": one, "labels": datasets.Sequence(one)}
    )
    rows = {"text": ["a", "b"], "label": [1, 0], "labels": [[0, 1], []]}
    path = tmp_path / "train-00000-of-00001.parquet"
    datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    assert _read(path, label="labels", problem="multi-label").labels == [("no", "yes"), ()]
    section = DataSection(dataset=str(tmp_path), label="labels", problem="multi-label")
    assert read_split(section, "train", "text-classification", 1).labels == [("no", "yes"), ()]
    with pytest.raises(
        InputError, match=r"data\.label 'label' .* holds classes \(no, yes\), no numbers to predict"
    ):
        _read(path, problem="regression")
