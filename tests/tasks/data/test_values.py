"""What is missing stays missing, and words stay words, in every format a table may have."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.rows import Origin
from platon_compress.tasks.data.tables import read_split
from platon_compress.tasks.data.values import class_labels, number_labels, text_pairs, texts

WORDS = ["NaN", "None", "NA", "null", "<NA>", "n/a", "007", "1e3"]
NAN = float("nan")


def _csv(path, columns):
    rows = zip(*columns.values(), strict=True)
    lines = [",".join(columns), *(",".join("" if v is None else str(v) for v in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def _tsv(path, columns):
    _csv(path, columns)
    path.write_text(path.read_text().replace(",", "\t"))


def _json(path, columns):
    path.write_text(
        json.dumps([dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)])
    )


def _jsonl(path, columns):
    rows = [json.dumps(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]
    path.write_text("\n".join(rows) + "\n")


def _parquet(path, columns):
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns), path)


WRITERS = {"csv": _csv, "tsv": _tsv, "json": _json, "jsonl": _jsonl, "parquet": _parquet}


def _read(folder, kind, columns, **section):
    path = folder / f"rows.{kind}"
    WRITERS[kind](path, columns)
    return read_split(
        DataSection(train=str(path), validation=str(path), **section), "train", "text-classification", 1
    )


@pytest.mark.parametrize("kind", WRITERS)
def test_words_that_look_missing_are_texts_and_classes(tmp_path, kind):
    rows = _read(tmp_path, kind, {"text": WORDS, "label": [*WORDS[:-2], "x", "y"]})
    assert rows.inputs == WORDS
    assert rows.labels[:5] == WORDS[:5]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("column", ["text", "label"])
def test_a_missing_value_is_refused_by_row(tmp_path, kind, column):
    columns = {"text": ["a", "b", "c", "d"], "label": ["x", "y", "x", "y"]}
    columns[column][2] = None
    line = {"csv": r" \(line 4\)", "tsv": r" \(line 4\)", "jsonl": r" \(line 3\)"}.get(kind, "")
    with pytest.raises(
        InputError, match=rf"row 3{line} of the train file rows\.{kind} has no {column}.*; remove"
    ):
        _read(tmp_path, kind, columns)


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_numbers_are_the_same_classes(tmp_path, kind):
    labels = [2.0, 10.0, 2.0] if kind != "jsonl" else [2, 10.0, 2]
    assert _read(tmp_path, kind, {"text": ["a", "b", "c"], "label": labels}).labels == ["2", "10", "2"]


@pytest.mark.parametrize("kind", WRITERS)
def test_two_targets_with_fractions_are_no_classes(tmp_path, kind):
    columns = {"text": ["a", "b", "c", "d"], "label": [1.0, 3.75, 1.0, 3.75]}
    with pytest.raises(InputError, match=r"row 2.* has a label with a fraction.*3\.75.*and 1 more row"):
        _read(tmp_path, kind, columns)


@pytest.mark.parametrize("kind", WRITERS)
def test_lists_of_labels_are_refused(tmp_path, kind):
    lists = ["[1]", "[2]"] if kind in ("csv", "tsv") else [[1], [2, 3]]
    with pytest.raises(InputError, match=r"row 1.* has a list of labels.*one class a row"):
        _read(tmp_path, kind, {"text": ["a", "b"], "label": lists})


@pytest.mark.parametrize("word", ["nan", "NA", "<NA>", "None"])
def test_a_missing_number_spelled_out_is_no_class(word):
    with pytest.raises(InputError, match=r"row 2 of the data has no label"):
        class_labels(["1", word, "0"], Origin())


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, None], r"row 2 of the data has no label; remove"),
        ([NAN, 1.0], r"row 1 of the data has no label; remove"),
        (["a", "  "], r"row 2 of the data has no label; remove"),
        ([1.0, float("inf")], r"row 2 .*neither a word nor a number: 'inf'"),
        ([1, 10**400], r"row 2 .*neither a word nor a number"),
        ([b"x", "y"], r"row 1 .*neither a word nor a number"),
        ([{"a": 1}, "y"], r"row 1 .*list of labels"),
    ],
)
def test_labels_that_are_none(values, message):
    with pytest.raises(InputError, match=message):
        class_labels(values, Origin())


def test_labels_of_other_types_keep_their_spelling():
    assert class_labels([True, False], Origin()) == ["True", "False"]
    assert class_labels(["v1.0", "0.5 stars"], Origin()) == ["v1.0", "0.5 stars"]
    assert class_labels([-1, 0, 1.0], Origin()) == ["-1", "0", "1"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0, 1, -1, -1], r"row 3 .* is not labelled \(-1\).*and 1 more rows.*name a labelled split"),
        ([0, None], r"row 2 .* has no label"),
        ([0, 2], r"row 2 .*none of the 2 class numbers: '2'"),
    ],
)
def test_numbers_beyond_the_named_classes(values, message):
    assert class_labels([1, 0], Origin(), ["no", "yes"]) == ["yes", "no"]
    with pytest.raises(InputError, match=message):
        class_labels(values, Origin(), ["no", "yes"])


def test_texts_are_strings_or_numbers():
    assert texts(["a", 5, 0.5], Origin(), "text") == ["a", "5", "0.5"]
    for value in (["a", "b"], b"a", {"a": 1}):
        with pytest.raises(InputError, match=r"row 1 of the data holds no text under text"):
            texts([value], Origin(), "text")


def test_one_text_of_a_pair_may_be_blank_but_not_missing():
    assert text_pairs(["a", ""], ["", "b"], Origin(), ("q", "r")) == [("a", ""), ("", "b")]
    with pytest.raises(InputError, match=r"row 1 of the data has no text \(q and r\)"):
        text_pairs([""], [" "], Origin(), ("q", "r"))
    with pytest.raises(InputError, match=r"row 2 of the data has no text \(r\)"):
        text_pairs(["a", "b"], ["c", None], Origin(), ("q", "r"))


@pytest.mark.parametrize("bad", [-1, None])
def test_class_labels_of_a_dataset(tmp_path, bad):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    table = datasets.Dataset.from_dict({"text": ["a", "b", "c"], "label": [1, 0, bad]}, features=features)
    path = tmp_path / "train-00000-of-00001.parquet"
    table.to_parquet(path)
    for section in (DataSection(dataset=str(tmp_path)), DataSection(train=str(path), validation=str(path))):
        with pytest.raises(InputError, match=r"row 3 of the train .* (is not labelled|has no label)"):
            read_split(section, "train", "text-classification", 1)
    table.select([0, 1]).to_parquet(path)
    rows = read_split(DataSection(train=str(path), validation=str(path)), "train", "text-classification", 1)
    assert rows.labels == ["yes", "no"]


@pytest.mark.parametrize("value", [10**400, -(10**400), "1e999", "9" * 400, float("inf")])
def test_numbers_beyond_all_floats_are_no_labels(value):
    with pytest.raises(InputError, match=r"row 2 .*not finite"):
        number_labels([0.5, value], Origin())
