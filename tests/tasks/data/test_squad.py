"""Questions about texts: SQuAD's files, tables and data sets; an answer stands where it says it stands."""

import json

import pytest

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.data.tables import read_split

TASK = "question-answering"
CONTEXT = "Ada left Turin in May, and Turin was glad."


def _section(path, **values):
    return DataSection(train=str(path), validation=str(path), **values)


def _answers(*starts, text="Turin"):
    return {"text": [text] * len(starts), "answer_start": list(starts)}


def _nested(*qas, title="Turin", **top):
    return {
        "version": "v2.0",
        "data": [{"title": title, "paragraphs": [{"context": CONTEXT, "qas": list(qas)}]}],
        **top,
    }


def _qa(number, *answers, **more):
    listed = [{"text": text, "answer_start": start} for text, start in answers]
    return {"id": f"q{number}", "question": f"Question {number}?", "answers": listed, **more}


def _read(folder, content, **values):
    path = folder / "t.json"
    path.write_text(json.dumps(content))
    return read_split(_section(path, **values), "train", TASK, 1)


def test_both_versions_of_squad(tmp_path):
    impossible = _qa(3, is_impossible=True, plausible_answers=[{"text": "May", "answer_start": 18}])
    rows = _read(
        tmp_path, _nested(_qa(1, ("Turin", 9)), _qa(2, ("Turin", 9), ("Turin", 27), ("Turin", 9)), impossible)
    )
    assert list(rows.ids) == ["q1", "q2", "q3"]
    assert list(rows.questions) == ["Question 1?", "Question 2?", "Question 3?"]
    assert [list(a) for a in rows.answers] == [[("Turin", 9)], [("Turin", 9), ("Turin", 27)], []]
    assert set(rows.contexts) == {CONTEXT}
    assert set(rows.groups) == {"Turin"}
    plain = _nested(_qa(1, ("Turin", 9)))
    del plain["version"]
    assert list(_read(tmp_path, plain).ids) == ["q1"]


def test_an_article_without_a_title_is_known_by_its_context(tmp_path):
    assert _read(tmp_path, _nested(_qa(1, ("Turin", 9)), title="")).groups == [CONTEXT]


ROWS = [
    {"question": "Where?", "context": CONTEXT, "answers": _answers(9, 27)},
    {"question": "Who?", "context": CONTEXT, "answers": _answers()},
]


def _check_flat(rows):
    assert list(rows.ids) == ["1", "2"]
    assert [list(a) for a in rows.answers] == [[("Turin", 9), ("Turin", 27)], []]
    assert list(rows.groups) == [CONTEXT] * 2


@pytest.mark.parametrize(
    "wrap", [list, lambda rows: {"data": rows}, lambda rows: {"version": "1", "data": rows}]
)
def test_flat_rows_of_json(tmp_path, wrap):
    _check_flat(_read(tmp_path, wrap(ROWS)))


def test_flat_rows_of_other_files(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.assign(answers=frame.answers.map(json.dumps)).to_csv(tmp_path / "t.csv", index=False)
    for name in ("t.parquet", "t.csv"):
        _check_flat(read_split(_section(tmp_path / name), "train", TASK, 1))


def test_answers_as_a_list_of_objects_and_groups_by_a_column(tmp_path):
    row = {**ROWS[0], "answers": [{"text": "Ada", "answer_start": 0}], "id": "a", "title": "T", "book": "B"}
    rows = _read(tmp_path, [row], group="book")
    assert (list(rows.answers), list(rows.groups), list(rows.ids)) == ([[("Ada", 0)]], ["B"], ["a"])


def test_a_data_set_as_datasets_gives_it(tmp_path):
    datasets = pytest.importorskip("datasets")
    text, number = datasets.Value("string"), datasets.Value("int32")
    answers = datasets.Sequence({"text": text, "answer_start": number})
    features = datasets.Features(
        {"id": text, "title": text, "context": text, "question": text, "answers": answers}
    )
    rows = [{**row, "id": f"q{i}", "title": "T"} for i, row in enumerate(ROWS)]
    data = datasets.Dataset.from_list(rows, features=features)
    data.to_parquet(tmp_path / "train-00000-of-00001.parquet")
    found = read_split(DataSection(dataset=str(tmp_path)), "train", TASK, 1)
    assert (list(found.ids), list(found.groups)) == (["q0", "q1"], ["T", "T"])
    assert [list(a) for a in found.answers] == [[("Turin", 9), ("Turin", 27)], []]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answers": _answers(8)}, r"row 1 .*'Turin' does not stand at character 8 of its context, but at 2 other places"),
        ({"answers": _answers(4, text="Ada")}, r"'Ada' does not stand at character 4 of its context, but at 0; set answer_"),
        ({"answers": _answers(-1, text=".")}, r"'\.' does not stand at character -1 of its context, but at 41"),
        ({"answers": _answers(0, text="Rome")}, r"'Rome' does not .*, nor anywhere else in it; fix the answer"),
        ({"answers": _answers(3, text=" ")}, r"row 1 .* has a blank answer"),
        ({"answers": None}, r"row 1 .* has no answers \(answers\); write an empty list"),
        ({"answers": "Turin"}, r"row 1 .* holds no answers under answers: 'Turin'; write \{"),
        ({"answers": {"text": ["Turin"]}}, r"row 1 .* holds no answers under answers"),
        ({"answers": {"text": ["Turin"], "answer_start": ["9"]}}, r"row 1 .* holds no answers under answers"),
        ({"question": " "}, r"row 1 .* has no text \(question\)"),
        ({"context": ""}, r"row 1 .* has no text \(context\)"),
    ],
)  # fmt: skip
def test_a_row_that_does_not_hold_is_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, [{**ROWS[0], **change}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{**ROWS[0], "id": "a"}, {**ROWS[1], "id": "a"}], r"row 2 .* has the id of an earlier row: 'a'"),
        ([ROWS[1]], r"no question of the train file t\.json has an answer"),
        ([{"text": "a"}], r"data\.text is 'question', but the train file t\.json has no such column; its columns: text"),
        ({"data": [{"title": "T", "paragraphs": [{"context": "c"}]}]}, r"article 1 .*\('T'\) has no list .* under 'qas'"),
        ({"data": [{"title": "T", "paragraphs": "x"}]}, r"article 1 of the train file t\.json has no list .* 'paragraphs'"),
        (_nested(_qa(1, ("Turin", 1))), r"row 1 \(id 'q1'\) of the train file t\.json: .* does not stand at character 1"),
        (_nested(), r"the train file t\.json holds no questions"),
        ({"data": []}, r"data\.text is 'question'"),
        ([], r"the train file t\.json holds no rows"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_said(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        _read(tmp_path, content)


def test_unlabelled_questions_need_no_answers(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text("".join(json.dumps({"question": r["question"], "context": CONTEXT}) + "\n" for r in ROWS))
    rows = read_split(_section(path), "train", TASK, 1, labelled=False)
    assert (len(rows), list(rows.answers)) == (2, [])
