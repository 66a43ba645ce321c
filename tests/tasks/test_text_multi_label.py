"""Any number of classes a text: losses against numpy, metrics, teachers, columns, and what is refused."""

import numpy as np
import pytest
import torch
from tiny_berts import letter_texts, letter_tokenizer, saved_bert, tiny_bert, tiny_text_recipe
from transformers.modeling_outputs import SequenceClassifierOutput

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection, DistillSection
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.distillation import make_teacher
from platon_compress.tasks.rooms import task_of
from platon_compress.tasks.text_multi_label import TextMultiLabel

NAMES = ["a", "b", "c"]
PROBLEM = "multi_label_classification"
ROWS = Rows(["a b", "b d", "d e", "c a b"], [("a", "b"), ("b",), (), ("a", "b", "c")])


def _task(**data):
    return task_of("text-classification", DataSection(problem="multi-label", max_length=16, **data))


def _checkpoint(folder, names=NAMES, problem=PROBLEM, seed=0):
    model = tiny_bert(seed=seed, problem_type=problem, id2label=dict(enumerate(names)))
    return Checkpoint(model, letter_tokenizer(folder / "words"), "text-classification")


def _sigmoid(values):
    return 1 / (1 + np.exp(-values))


def test_classes_come_from_the_lists_or_the_columns(tmp_path):
    task = _task()
    assert isinstance(task, TextMultiLabel)
    assert task.metric == "f1_micro"
    assert task.names(ROWS, None) == NAMES
    assert task.names(Rows(["x"] * 3, [("10",), ("9",), ()]), None) == ["9", "10"]
    finished = _checkpoint(tmp_path, ["c", "a", "b"])
    assert task.names(ROWS, finished.model.config) == ["c", "a", "b"]
    assert _task(label_columns=("c", "d", "a")).names(ROWS, None) == ["c", "d", "a"]  # d has no row yet
    assert task.counted(ROWS, NAMES) == {"a": 2, "b": 3, "c": 1}
    assert task.head(NAMES)["problem_type"] == PROBLEM


def test_labels_are_marks_of_the_classes(tmp_path):
    checkpoint = _checkpoint(tmp_path)
    examples = _task().encode(ROWS, checkpoint, NAMES)
    assert examples.labels.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 1, 1]]
    batch = _task().collate([examples[i] for i in range(4)], checkpoint.processor)
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == examples.labels.tolist()


def test_the_losses_are_the_binary_cross_entropy(tmp_path):
    task, checkpoint = _task(), _checkpoint(tmp_path)
    examples = task.encode(ROWS, checkpoint, NAMES)
    batch = task.collate([examples[i] for i in range(4)], checkpoint.processor)
    outputs = task.forward(checkpoint.model, batch)
    logits, marks = outputs.logits.detach().double().numpy(), examples.labels
    entropy = -(marks * np.log(_sigmoid(logits)) + (1 - marks) * np.log(_sigmoid(-logits)))
    assert task.loss(outputs, batch).item() == pytest.approx(entropy.mean(), rel=1e-5)
    theirs = np.random.default_rng(0).normal(size=(4, 3)) * 3
    wanted = _sigmoid(theirs / 2)
    soft = -(wanted * np.log(_sigmoid(logits / 2)) + (1 - wanted) * np.log(_sigmoid(-logits / 2)))
    taught = task.taught(outputs, SequenceClassifierOutput(logits=torch.tensor(theirs)), batch, 2.0)
    assert taught.item() == pytest.approx(4 * soft.mean(), rel=1e-5)


def test_right_answers_score_one_and_the_best_fixed_answer_is_known(tmp_path):
    checkpoint = _checkpoint(tmp_path)
    evaluation = _task().evaluation(_task().encode(ROWS, checkpoint, NAMES), checkpoint, 3)
    logits = np.array([[9.0, 9, -9], [-9, 9, -9], [-900, -9, -9], [9, 9, 900]], np.float32)
    scores = evaluation.score([{"logits": logits[:3]}, {"logits": logits[3:]}])
    assert scores.values == {"f1_micro": 1, "f1_macro": 1, "accuracy": 1, "average_precision": 1}
    assert evaluation.trivial == pytest.approx(2 * 5 / (8 + 6))  # a and b for every row
    logits[0, 0] = np.nan
    with pytest.raises(InputError, match="1 of the 12 predictions are NaN"):
        evaluation.score([{"logits": logits}])


def test_a_finished_model_says_its_classes_by_name_or_by_number(tmp_path):
    task, checkpoint = _task(), _checkpoint(tmp_path)
    assert task.known_names(ROWS, checkpoint) == NAMES
    assert task.known_names(Rows(["x", "y"], [("0", "2"), ()]), checkpoint) == ["0", "1", "2"]
    with pytest.raises(InputError, match=r"row 2 of the data: label 'z' .* none of the model's: a, b, c"):
        task.known_names(Rows(["x", "y"], [("a",), ("b", "z")]), checkpoint)
    single = _checkpoint(tmp_path, problem="single_label_classification")
    with pytest.raises(
        InputError, match=r"no multi-label classifier \(its config\.json has problem_type single"
    ):
        task.known_names(ROWS, single)


def test_teachers_are_matched_by_name(tmp_path):
    task, student, settings = _task(), _checkpoint(tmp_path), DistillSection()
    other = _checkpoint(tmp_path, ["c", "a", "b"], seed=1)
    assert make_teacher(other, "t", settings, task, NAMES, student).columns == (1, 2, 0)
    with pytest.raises(
        InputError, match=r"'t' does not fit: it knows 4 classes \(a, b, c, d\), the data has 3"
    ):
        make_teacher(_checkpoint(tmp_path, [*NAMES, "d"]), "t", settings, task, NAMES, student)
    with pytest.raises(InputError, match=r"'t' does not fit: .*label 'b' of the data is none of the model's"):
        make_teacher(_checkpoint(tmp_path, ["a", "x", "y"]), "t", settings, task, NAMES, student)


def test_what_says_nothing_is_refused(tmp_path):
    task, checkpoint = _task(), _checkpoint(tmp_path)
    with pytest.raises(InputError, match=r"labels hold one class only \('a'\); multi-label needs two"):
        task.names(Rows(["x"], [("a",)]), None)
    with pytest.raises(InputError, match=r"labels hold no class; multi-label needs two"):
        task.names(Rows(["x"], [()]), None)
    many = Rows(["x"] * 3, [tuple(map(str, range(30)))] * 3)
    with pytest.raises(InputError, match=r"holds 30 classes in 3 rows; name the column of the classes"):
        task.names(many, None)
    with pytest.raises(
        InputError, match=r"all 2 validation rows have the same classes \(a, b\), so f1_micro"
    ):
        task.check_rows(Rows(["x", "y"], [("a", "b"), ("b", "a")]))
    with pytest.raises(InputError, match=r"row 1 of the data: label 'b' is not among the classes a, c"):
        task.encode(ROWS, checkpoint, ["a", "c"])
    outputs = SequenceClassifierOutput(logits=torch.zeros(4, 2))
    with pytest.raises(InputError, match=r"answers with \[4, 2\], not with .* \[4, 3\]"):
        task.check_answers(outputs, {"input_ids": torch.zeros(4, 5)}, checkpoint)


def _columns(path, texts):
    lines = [",".join([text, *(str(int(name in text)) for name in NAMES)]) for text in texts]
    path.write_text("\n".join([",".join(["text", *NAMES]), *lines]) + "\n")
    return str(path)


def _lists(path, texts):
    rows = [f'"{text}","{[name for name in NAMES if name in text]}"' for text in texts]
    path.write_text("\n".join(["text,label", *rows]) + "\n")
    return str(path)


@pytest.mark.train
def test_a_whole_run_of_columns_and_compress_of_lists(tmp_path, run_and_compress):
    files = [
        _columns(tmp_path / name, letter_texts(96, seed)) for seed, name in enumerate(("t.csv", "d.csv"))
    ]
    data = {
        "train": files[0], "validation": files[1], "max_length": 16, "problem": "multi-label", "label_columns": NAMES
    }  # fmt: skip
    recipe = tiny_text_recipe(saved_bert(tmp_path / "student"), "text-classification", data, distill={})
    _, parity, said = run_and_compress(recipe, _lists(tmp_path / "lists.csv", letter_texts(96, 1)))
    scores = parity["scores"]["onnx_compressed"]
    assert scores["metric"] == "f1_micro"
    assert f"baseline micro F1 {100 * scores['values']['f1_micro']:.2f} +- " in said
