"""Numbers of texts: learnt on any scale, answered on that of the data."""

import csv

import numpy as np
import pytest
import torch
from thinned import thinned
from tiny_berts import letter_texts, letter_tokenizer, saved_bert, tiny_bert, tiny_text_recipe
from transformers.modeling_outputs import SequenceClassifierOutput

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection, DistillSection, TrainSection
from platon_compress.runtime import load
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.distillation import make_teacher
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.rooms import task_of
from platon_compress.tasks.text_regression import TextRegression
from platon_compress.tasks.training import train
from platon_compress.testing import tiny_transformer

DATA = DataSection(problem="regression", max_length=16)
HEAD = {"num_labels": 1, "problem_type": "regression"}
NEW = ("classifier.weight", "classifier.bias")


def _rows(count=64, seed=0, mean=1000.0, step=300.0):
    """The number is how often a text holds an "a"."""
    texts = letter_texts(count, seed)
    return Rows(texts, [mean + step * text.count("a") for text in texts])


def _student(folder, seed=1, drawn=NEW):
    return Checkpoint(
        tiny_bert(seed=seed, **HEAD), letter_tokenizer(folder / "words"), "text-classification", drawn
    )


@pytest.fixture
def task():
    return task_of("text-classification", DATA)


def _answers(task, checkpoint, examples):
    with torch.no_grad():
        batch = task.collate([examples[i] for i in range(len(examples))], checkpoint.processor)
        return task.forward(checkpoint.model, batch).logits.squeeze(-1).double().numpy()


def test_the_room_is_chosen_by_the_problem(task):
    assert isinstance(task, TextRegression)
    assert task.metric == "spearman"
    assert task_of("text-classification", DATA, "pearson").metric == "pearson"
    with pytest.raises(
        InputError, match=r"metric 'accuracy' does not go with text-classification \(regression\)"
    ):
        task_of("text-classification", DATA, "accuracy")


@pytest.mark.parametrize("mean", thinned([1000.0, 0.0], every=2))
def test_numbers_are_learnt_on_the_scale_of_the_data(task, tmp_path, mean):
    """Rule 1 and 2: with one learning rate, prices in thousands are learnt to a fifth of their deviation."""
    rows, student = _rows(mean=mean, step=300 if mean else 0.01), _student(tmp_path)
    examples = task.encode(rows, student, [])
    settings = TrainSection(epochs=40, batch_size=16, learning_rate=3e-3, evaluations=1)
    result = train(task, student, examples, examples, settings, work_folder=tmp_path / "work")
    assert result.scores.values["pearson"] > 0.97
    errors = _answers(task, student, examples) - examples.labels
    assert np.sqrt(np.mean(errors**2)) < 0.25 * np.std(examples.labels)


@pytest.mark.parametrize("drawn", [NEW, ()], ids=["new head", "finished head"])
def test_the_scale_is_folded_into_the_output_layer(task, tmp_path, drawn):
    """Without a step of training, a finished head answers as before; a new one starts at the mean of the labels."""
    student, rows = _student(tmp_path, drawn=drawn), _rows()
    examples = task.encode(rows, student, [])
    before = _answers(task, student, examples)
    with task.training(student, examples, None):
        inside = _answers(task, student, examples)
    mean, deviation = np.mean(rows.labels), np.std(rows.labels)
    wanted = before if drawn else (before - mean) / deviation
    assert inside == pytest.approx(wanted, abs=1e-5)
    assert _answers(task, student, examples) == pytest.approx(inside * deviation + mean, abs=1e-6 * mean)


def test_the_loss_is_the_mean_squared_error_of_standardised_labels(task, tmp_path):
    student, rows = _student(tmp_path), _rows()
    examples = task.encode(rows, student, [])
    batch = task.collate([examples[i] for i in range(8)], student.processor)
    with task.training(student, examples, None):
        outputs = task.forward(student.model, batch)
        wanted = (np.array(rows.labels[:8]) - np.mean(rows.labels)) / np.std(rows.labels)
        errors = outputs.logits.detach().double().squeeze(-1).numpy() - wanted
        assert task.loss(outputs, batch).item() == pytest.approx(np.mean(errors**2), rel=1e-5)
    answers = (torch.tensor([[1.0], [2.0]]), torch.tensor([[0.0], [5.0]]))
    ours, theirs = (SequenceClassifierOutput(logits=logits) for logits in answers)
    assert task.taught(ours, theirs, batch, 2.0).item() == pytest.approx(5.0)  # (1 + 9) / 2


def test_a_student_without_labels_takes_the_scale_of_its_teacher(task, tmp_path):
    teacher = _student(tmp_path, seed=2, drawn=())
    with torch.no_grad():
        teacher.model.classifier.weight.mul_(3000)
        teacher.model.classifier.bias.fill_(5000)
    rows = Rows(_rows(96).inputs)
    student = _student(tmp_path, seed=1)
    examples = task.encode(rows, student, [])
    wanted = _answers(task, teacher, examples)
    judged = task.encode(Rows(rows.inputs, wanted.tolist()), student, [])
    settings = TrainSection(epochs=20, batch_size=16, learning_rate=3e-3, evaluations=1)
    taught = make_teacher(teacher, "t", DistillSection(labels=False, teacher="t"), task, [], student)
    train(task, student, examples, judged, settings, teacher=taught, work_folder=tmp_path / "work")
    errors = _answers(task, student, examples) - wanted
    assert np.sqrt(np.mean(errors**2)) < 0.5 * np.std(wanted)


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "electra", "modernbert", "deberta-v2", "mpnet", "camembert"]
)
def test_the_output_layer_of_every_family_is_found(task, family):
    whole, inputs = tiny_transformer(family, "ForSequenceClassification")
    whole.config.num_labels = 1
    model = type(whole)(whole.config).eval()
    checkpoint = Checkpoint(model, None, "text-classification", ())
    with torch.no_grad():
        before = model(**inputs).logits
        with task.training(checkpoint, _labelled([10.0, 30.0]), None):
            inside = model(**inputs).logits
        assert torch.allclose(inside, (before - 20) / 10, atol=1e-5)
        assert torch.allclose(model(**inputs).logits, before, atol=1e-5)


def _labelled(labels):
    return Examples([{}] * len(labels), np.array(labels))


def test_what_says_nothing_is_refused(task, tmp_path):
    flat = Rows(["a", "b"], [2.0, 2.0])
    with pytest.raises(
        InputError, match=r"all 2 training rows have the label 2, so there is nothing to learn"
    ):
        task.names(flat, None)
    with pytest.raises(
        InputError, match=r"all 2 validation rows have the label 2, so spearman would say nothing"
    ):
        task.check_rows(flat)
    three = Checkpoint(tiny_bert(num_labels=3), letter_tokenizer(tmp_path / "words"), "text-classification")
    with pytest.raises(InputError, match=r"the model has 3 outputs, and data\.problem regression needs one"):
        task.known_names(flat, three)
    with pytest.raises(InputError, match=r"the teacher 't' does not fit: the model has 3 outputs"):
        make_teacher(three, "t", DistillSection(), task, [], _student(tmp_path))
    examples = task.encode(flat, three, [])
    batch = task.collate([examples[i] for i in range(2)], three.processor)
    outputs = task.forward(three.model, batch)
    with pytest.raises(InputError, match=r"answers with \[2, 3\], not with one number for each row"):
        task.check_answers(outputs, batch, three)


def _write(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *zip(rows.inputs, rows.labels, strict=True)])
    return str(path)


@pytest.mark.train
def test_a_whole_run_and_compress(tmp_path, run_and_compress):
    """The exported file answers on the scale of the data; compress knows the problem from the model's config."""
    train_file, dev = _write(tmp_path / "t.csv", _rows(96)), _write(tmp_path / "d.csv", _rows(64, seed=1))
    data = {"train": train_file, "validation": dev, "max_length": 16, "problem": "regression"}
    recipe = tiny_text_recipe(
        saved_bert(tmp_path / "student"), "text-classification", data,
        train={"epochs": 10, "learning_rate": 3e-3}, prune={"sparsity": 0.3}, distill={},
    )  # fmt: skip
    run, parity, said = run_and_compress(recipe, dev)
    scores = parity["scores"]["onnx_compressed"]
    assert scores["metric"] == "spearman"
    assert set(scores["values"]) == {"spearman", "pearson"}
    rows = _rows(64, seed=1)
    assert parity["atol"] == pytest.approx(1e-4 * np.std(rows.labels))  # by the size of the numbers
    logits = load(run / "onnx").predict(rows.inputs).logits.squeeze(-1)
    assert np.corrcoef(logits, rows.labels)[0, 1] == pytest.approx(scores["values"]["pearson"], abs=1e-4)
    assert abs(logits.mean() - np.mean(rows.labels)) < 0.5 * np.std(rows.labels)
    assert f"baseline Spearman correlation {100 * scores['values']['spearman']:.2f} +- " in said
