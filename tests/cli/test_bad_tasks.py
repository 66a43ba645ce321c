"""What each text task refuses in its data and its models: one line with a cure, exit 2, nothing written."""

import json

import pytest
import yaml
from tiny_berts import saved_bert

NUMBERS, LABELS = "--set data.problem=regression", "--set data.problem=multi-label"


def _texts(column, labels):
    rows = [f'"{" ".join("abcdefgh"[: 1 + i % 8])}","{labels[i % len(labels)]}"' for i in range(80)]
    return "\n".join([f"text,{column}", *rows]) + "\n"


def _tags(*lines):
    good = "a\tB-X\nb\tI-X\nc\tO\n\n" * 80
    return good + "\n".join(lines) + "\n"


def _questions(odd, count=80, **more):
    good = [
        {"id": str(i), "question": "a", "context": "b c d", "answers": {"text": ["c"], "answer_start": [2]}}
        for i in range(count)
    ]
    return "\n".join(json.dumps(row) for row in [*good, {**good[0], "id": "odd", **odd, **more}]) + "\n"


NEVER = "b " * 62
MISPLACED, ABSENT = ({"answers": {"text": [text], "answer_start": [0]}} for text in "cz")
MARKS = f"{LABELS} --set data.label_columns="
# task, flags, name of the train file, its content, what the message says
CASES = [
    ("text-classification", NUMBERS, "t.csv", _texts("score", [1, 2]), "label"),
    ("text-classification", NUMBERS, "t.csv", _texts("label", [1, "x"]), "has a label that is no number: 'x'"),
    ("text-classification", NUMBERS, "t.csv", _texts("label", [1, "nan"]), "has no label"),
    ("text-classification", NUMBERS, "t.csv", _texts("label", [1, "inf"]), "has a label that is not finite"),
    ("text-classification", NUMBERS, "t.csv", _texts("label", [3]), "training rows have the label 3"),
    ("text-classification", f"{NUMBERS} --set metric=accuracy", "t.csv", _texts("label", [1, 2]), "does not go with"),
    ("text-classification", LABELS, "t.csv", _texts("label", ["['x']", "y"]), "holds no list under label"),
    ("text-classification", LABELS, "t.csv", _texts("label", ["['x']"]), "hold one class only"),
    ("text-classification", LABELS, "t.csv", _texts("label", ["['x', 'x']", "['y']"]), "names a class twice"),
    ("text-classification", f"{MARKS}[label]", "t.csv", _texts("label", [1, 2]), "neither 0 nor 1"),
    ("text-classification", f"{MARKS}[z]", "t.csv", _texts("label", [1, 0]), "z"),
    ("text-classification", "", "t.csv", _texts("label", [0.5, 1.5]), "has a label with a fraction"),
    ("text-classification", "", "t.csv", _texts("label", [0, 1]) + '" ",1\n', "has no text"),
    ("token-classification", "", "t.conll", _tags("a\tX"), "X"),
    ("token-classification", "", "t.conll", "a\tO\nb\tO\n\n" * 80, "no entity to learn"),
    ("token-classification", "", "t.conll", _tags("a"), ""),
    ("token-classification", "--set data.document_stride=80", "t.conll", _tags(), "would not move on"),
    ("token-classification", "--label pos", "t.jsonl", '{"tokens": ["a"], "ner_tags": ["O"]}\n' * 80, "pos"),
    ("question-answering", "", "t.jsonl", _questions(MISPLACED), "does not stand at character 0"),
    ("question-answering", "", "t.jsonl", _questions(ABSENT), "nor anywhere else in it"),
    ("question-answering", "", "t.jsonl", _questions({"answers": None}), "has no answers"),
    ("question-answering", "", "t.jsonl", _questions({"context": ""}), "has no text"),
    ("question-answering", "", "t.jsonl", _questions({"question": NEVER}), "leaves no room for its context"),
    ("question-answering", "--text asked", "t.jsonl", _questions({}), "asked"),
    ("question-answering", "--set data.max_length=100", "t.jsonl", _questions({}), "has 64 positions"),
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """`base`, finished models of two problems, and one with a head for words, all with ten encoder zeros in a hundred."""
    folder = tmp_path_factory.mktemp("models")
    for name, kind, settings in (
        ("base", "BertModel", {}),
        ("number", "BertForSequenceClassification", {"num_labels": 1}),
        ("many", "BertForSequenceClassification", {"problem_type": "multi_label_classification"}),
        ("tags", "BertForTokenClassification", {"id2label": {0: "O", 1: "B-X"}}),
        ("words", "BertForMaskedLM", {}),
    ):
        saved_bert(folder / name, kind, zeros=0.3, **settings)
    return folder


@pytest.fixture
def message_of(refusal, tmp_path):
    """The refusal of a command that would write to a run folder, and has not."""

    def said(arguments):
        line = refusal([*arguments, "-o", str(tmp_path / "run")])
        assert not (tmp_path / "run").exists()
        return line

    return said


@pytest.mark.parametrize(("task", "flags", "name", "content", "message"), CASES)
def test_data_that_is_none_of_the_task(models, task, flags, name, content, message, tmp_path, message_of):
    (tmp_path / name).write_text(content)
    recipe = {
        "model": {"name": str(models / "base"), "task": task},
        "data": {"train": str(tmp_path / name), "validation": str(tmp_path / name)},
        "prune": {"sparsity": 0.5},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    arguments = ["run", str(tmp_path / "r.yaml"), "--dry-run", *flags.split()]
    assert message in message_of(arguments)


@pytest.mark.parametrize(
    ("model", "flags", "name", "content", "message"),
    [
        ("words", "", "t.csv", _texts("label", [1, 2]), "the model's task is 'fill-mask', which has no metric"),
        ("number", "", "t.csv", _texts("label", ["x", "y"]), "has a label that is no number: 'x'"),
        ("number", "", "t.csv", _texts("label", [2]), "validation rows have the label 2, so spearman would say nothing"),
        ("number", "--negative text", "t.csv", _texts("label", [2]), "no key of the task text-classification"),
        ("many", "", "t.csv", _texts("label", ["['z']", "['LABEL_0']"]), "label 'z' of the data is none of the model's"),
        ("many", "", "t.csv", _texts("label", ["['LABEL_0']"]), "have the same classes (LABEL_0)"),
        ("tags", "", "t.conll", _tags(), "tag 'I-X' is not among the model's tags (O, B-X)"),
        ("tags", "", "t.conll", "a\tO\n\n" * 80, "no entity to learn"),
    ],
)  # fmt: skip
def test_data_that_does_not_fit_the_model_of_compress(
    models, model, flags, name, content, message, tmp_path, message_of
):
    (tmp_path / name).write_text(content)
    arguments = [
        "compress",
        str(models / model),
        "--no-calibrate",
        "--data",
        str(tmp_path / name),
        *flags.split(),
    ]
    assert message in message_of(arguments)


def test_a_problem_that_the_model_did_not_learn(models, tmp_path, message_of):
    (tmp_path / "t.csv").write_text(_texts("label", ["['x']", "['y']"]))
    recipe = {
        "kind": "compress",
        "model": {"name": str(models / "number"), "task": "text-classification"},
        "data": {"validation": str(tmp_path / "t.csv"), "problem": "multi-label"},
    }
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(recipe))
    said = message_of(["run", str(tmp_path / "r.yaml")])
    assert "data.problem is multi-label, but the model" in said
    assert "was trained for regression" in said
