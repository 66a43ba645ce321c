"""Texts to embed and passages to rank: which columns make which rows, and slices that keep lists whole."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.tables import read_split

PAIR = {"text": "a man eats", "text_pair": "somebody eats"}
RANKED = [("q1", "a", 1), ("q1", "b", 0), ("q2", "c", 0), ("q2", "d", 2), ("q2", "e", 0)]


def _section(folder, *rows, **values):
    path = folder / "t.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataSection(train=str(path), validation=str(path), **values)


def _similar(section, **options):
    return read_split(section, "train", "sentence-similarity", 1, **options)


def _ranked(folder, *rows, **values):
    keys = ("query", "passage", "label", "list")
    found = [dict(zip(keys, row, strict=False)) for row in rows or RANKED]
    return read_split(_section(folder, *found, **values), "train", "text-ranking", 1)


def test_the_columns_say_what_the_rows_are(tmp_path):
    alone = _similar(_section(tmp_path, {"text": "a"}, {"text": "b"}, {"text": "a"}))
    assert (list(alone.texts), list(alone.scores), alone.distinct()) == (
        [("a",), ("b",), ("a",)],
        [],
        ["a", "b"],
    )
    scored = _similar(_section(tmp_path, {**PAIR, "label": "4.5"}, {**PAIR, "label": 0}))
    assert (scored.texts[0], list(scored.scores)) == (("a man eats", "somebody eats"), [4.5, 0.0])
    assert scored.distinct() == ["a man eats", "somebody eats"]
    pairs = _similar(_section(tmp_path, PAIR))
    assert (list(pairs.texts), list(pairs.scores)) == ([("a man eats", "somebody eats")], [])
    names = {"text": "anchor", "text_pair": "positive", "negative": "negative"}
    triple = _similar(_section(tmp_path, {"anchor": "a", "positive": "b", "negative": "c"}, **names))
    assert list(triple.texts) == [("a", "b", "c")]


def test_unlabelled_pairs_have_no_scores(tmp_path):
    section = _section(tmp_path, {**PAIR, "label": "unknown"})
    assert list(_similar(section, labelled=False).scores) == []


@pytest.mark.parametrize(
    ("row", "values", "message"),
    [
        (PAIR, {"label": "score"}, r"data\.label is 'score', but .* has no such column; its columns: text, text_pair"),
        ({"text": "a"}, {"text_pair": "other"}, r"data\.text_pair is 'other', but .* no such column"),
        ({"text": "a", "no": "b"}, {"negative": "no"}, r"there are no positives; name their column with data\.text_pair"),
        ({"text": "a", "s": 1}, {"label": "s"}, r"a score is of two texts; name the second with data\.text_pair"),
        ({**PAIR, "no": "b", "s": 1}, {"negative": "no", "label": "s"}, r"both data\.negative and data\.label, and"),
        ({**PAIR, "label": "high"}, {}, r"row 1 \(line 1\) .* has a label that is no number: 'high'"),
        ({**PAIR, "label": "nan"}, {}, r"row 1 .* has no label: 'nan'|row 1 .* has no label;"),
        ({**PAIR, "label": float("inf")}, {}, r"row 1 .* has a label that is not finite"),
        ({**PAIR, "label": 3}, {}, r"every score of the train file t\.jsonl is 3; give rows with at least two"),
        ({**PAIR, "text_pair": " "}, {}, r"row 1 .* has no text \(text_pair\)"),
        ({"sentence": "a"}, {}, r"data\.text is 'text', but .*its columns: sentence"),
    ],
)  # fmt: skip
def test_rows_that_are_not_similar_texts(tmp_path, row, values, message):
    with pytest.raises(InputError, match=message):
        _similar(_section(tmp_path, row, **values))


def test_rows_of_one_query_are_one_group(tmp_path):
    rows = _ranked(tmp_path)
    assert list(rows.groups) == ["q1", "q1", "q2", "q2", "q2"]
    assert list(rows.labels) == [1, 0, 0, 2, 0]
    named = _ranked(tmp_path, ("q", "a", 1, 7), ("q", "b", 0, 8), group="list")
    assert list(named.groups) == ["7", "8"]


def test_a_slice_keeps_whole_groups(tmp_path):
    rows = [(f"q{i // 3}", f"p{i}", i % 3 == 0) for i in range(60)]
    chosen = _ranked(tmp_path, *((q, p, int(y)) for q, p, y in rows), train_rows=20)
    assert len(chosen) == 18
    assert all(list(chosen.groups).count(group) == 3 for group in set(chosen.groups))
    places = [int(passage[1:]) for passage in chosen.passages]
    assert places == sorted(places)
    assert chosen.origin.place(0) == f"row {places[0] + 1} (line {places[0] + 1}) of the train file t.jsonl"
    assert len(_ranked(tmp_path, *((q, p, int(y)) for q, p, y in rows), train_rows=1)) == 3


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("q", "a", -1), r"row 6 \(line 6\) .* has a label below 0: '-1\.0'; grade from 0"),
        (("q", "a", None), r"row 6 .* has no label"),
        (("q", "a", [1, 0]), r"row 6 .* has a list of labels, but needs one number"),
        (("q", "", 1), r"row 6 .* has no text \(passage\)"),
        ((None, "a", 1), r"row 6 .* has no text \(query\)"),
        (("q", "a", True), r"row 6 .* has a label that is no number"),
    ],
)
def test_rows_that_cannot_be_ranked(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        _ranked(tmp_path, *RANKED, row)


def test_labels_that_are_all_the_same_rank_nothing(tmp_path):
    with pytest.raises(
        InputError, match=r"every label of the train file t\.jsonl is 0; give rows with at least two"
    ):
        _ranked(tmp_path, ("q", "a", 0), ("q", "b", 0))


def test_each_split_has_the_columns_that_it_needs(tmp_path):
    """Triples to train on and scored pairs to judge by; single texts to train on without labels."""
    triples, scored = (tmp_path / name for name in ("train.jsonl", "dev.jsonl"))
    triples.write_text(json.dumps({"a": "x", "b": "y", "no": "z"}) + "\n")
    scored.write_text("".join(json.dumps({"a": "x", "b": "y", "s": score}) + "\n" for score in (1, 2)))
    names = {"text": "a", "text_pair": "b", "negative": "no", "label": "s"}
    section = DataSection(train=str(triples), validation=str(scored), **names)
    assert _similar(section).texts == [("x", "y", "z")]
    judged = read_split(section, "validation", "sentence-similarity", 1)
    assert (judged.texts[0], judged.scores) == (("x", "y"), [1.0, 2.0])
    triples.write_text(json.dumps({"a": "x"}) + "\n")
    assert _similar(section, labelled=False).texts == [("x",)]
    with pytest.raises(InputError, match=r"data\.text_pair is 'b', but the train file .* no such column"):
        _similar(section)
