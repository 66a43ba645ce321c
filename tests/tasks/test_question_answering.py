"""Questions about texts: answers as spans of windows, losses, scores, and what is refused."""

import json

import numpy as np
import pytest
import torch
from tiny_berts import letter_tokenizer, saved_bert, tiny_bert, tiny_text_recipe
from transformers.modeling_outputs import QuestionAnsweringModelOutput

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.runtime import load
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import QuestionRows
from platon_compress.tasks.question_answering import QuestionAnswering

KIND = "BertForQuestionAnswering"
LONG = "a b c d e f g h i j k l m n o p 0 1 2 3 4 5 6 7 8 9"


def _rows(*cases):
    """Of (question, context, (answer, ...)): where each answer stands is looked up."""
    answers = [[(text, context.index(text)) for text in found] for _, context, found in cases]
    ids = [str(number) for number in range(len(cases))]
    return QuestionRows(ids, [q for q, _, _ in cases], [c for _, c, _ in cases], ids, answers)


def _task(length=16, stride=4):
    return QuestionAnswering(DataSection(max_length=length, document_stride=stride))


def _checkpoint(folder, padding_side="right"):
    words = letter_tokenizer(folder / "words", padding_side=padding_side)
    return Checkpoint(tiny_bert(KIND), words, "question-answering")


def _gold(task, examples, checkpoint, batch_size=3):
    """Logits that are certain of the labelled tokens, [batch, tokens] as the collated batches have them."""
    outputs = []
    for start in range(0, len(examples), batch_size):
        items = [examples[i] for i in range(start, min(start + batch_size, len(examples)))]
        batch = task.collate(items, checkpoint.processor)
        logits = np.zeros((2, *batch["input_ids"].shape), np.float32)
        for row, (first, last) in enumerate(batch["labels"].tolist()):
            logits[0, row, first] = logits[1, row, last] = 20
        outputs.append({"start_logits": logits[0], "end_logits": logits[1]})
    return outputs


ROWS = _rows(
    ("a b", LONG, ("f g",)),
    ("c", LONG, ("8 9",)),
    ("d", "a b c", ("b",)),
    ("e f g", LONG, ("a b c",)),
)


def test_spans_are_the_tokens_of_the_answer_in_each_window(tmp_path):
    checkpoint = _checkpoint(tmp_path)
    examples = _task().encode(ROWS, checkpoint, [])
    assert len(examples) > len(ROWS)
    for index, owner in enumerate(examples.owners):
        first, last = examples.labels[index]
        ids = examples.features[index]["input_ids"]
        words = checkpoint.processor.convert_ids_to_tokens(ids)
        answer = ROWS.answers[owner][0][0].split()
        held = [words[i : i + len(answer)] for i in range(words.index("[SEP]"), len(words))]
        if answer in held:
            assert words[first : last + 1] == answer
        else:
            assert (first, last) == (0, 0)
    assert {owner for owner, label in zip(examples.owners, examples.labels, strict=True) if label != (0, 0)} == {
        0, 1, 2, 3,
    }  # fmt: skip


def test_a_window_with_half_of_the_answer_has_none_of_it(tmp_path):
    rows = _rows(("a", "a b c d e f g h i j", ("e f g h",)))
    examples = _task(10, 2).encode(rows, _checkpoint(tmp_path), [])
    assert [len(feature["input_ids"]) for feature in examples.features] == [10, 10]
    assert examples.labels == [(0, 0), (3, 6)]  # a b c d e f, then e f g h i j behind [CLS] a [SEP]


def test_blanks_around_an_answer_belong_to_no_token(tmp_path):
    rows = _rows(("a", "b c d e", (" c d ",)))
    assert _task().encode(rows, _checkpoint(tmp_path), []).labels == [(4, 5)]


def test_the_first_answer_that_a_window_holds_counts(tmp_path):
    rows = _rows(("a", LONG, ("9", "b")))
    labels = _task().encode(rows, _checkpoint(tmp_path), []).labels
    assert labels[0] == (4, 4)
    assert labels[-1] != (0, 0)


def test_rows_without_answers_have_the_first_token(tmp_path):
    rows = _rows(("a", "b c", ()), ("a", "b c", ("c",)))
    assert _task().encode(rows, _checkpoint(tmp_path), []).labels == [(0, 0), (4, 4)]


@pytest.mark.parametrize("side", ["right", "left"])
def test_certain_answers_score_one_over_windows_and_padding(tmp_path, side):
    task, checkpoint = _task(), _checkpoint(tmp_path, side)
    examples = task.encode(ROWS, checkpoint, [])
    evaluation = task.evaluation(examples, checkpoint, 3)
    assert (evaluation.decision, evaluation.least_agreement) == ("question", 0.95)
    scores = evaluation.score(_gold(task, examples, checkpoint))
    assert scores.values == {"f1": 1.0, "exact_match": 1.0}
    assert evaluation.examples == len(ROWS)
    none = [
        {name: np.zeros_like(values) for name, values in batch.items()}
        for batch in _gold(task, examples, checkpoint)
    ]
    assert evaluation.score(none).value < 1


def test_no_answer_is_an_answer(tmp_path):
    rows = _rows(("a", LONG, ()), ("c", LONG, ("d",)))
    task, checkpoint = _task(), _checkpoint(tmp_path)
    examples = task.encode(rows, checkpoint, [])
    evaluation = task.evaluation(examples, checkpoint, 3)
    assert evaluation.score(_gold(task, examples, checkpoint)).values == {"f1": 1.0, "exact_match": 1.0}
    assert evaluation.trivial == 0.5


def test_a_part_keeps_the_windows_of_its_rows(tmp_path):
    task, checkpoint = _task(), _checkpoint(tmp_path)
    part = task.part(task.encode(ROWS, checkpoint, []), 2)
    assert part.rows.questions == ["a b", "d"]
    evaluation = task.evaluation(part, checkpoint, 3)
    assert evaluation.score(_gold(task, part, checkpoint)).value == 1.0


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_loss_is_the_models_own_and_numpys(tmp_path, side):
    task, checkpoint = _task(), _checkpoint(tmp_path, side)
    examples = task.encode(ROWS, checkpoint, [])
    batch = task.collate([examples[i] for i in range(len(examples))], checkpoint.processor)
    outputs = task.forward(checkpoint.model, batch)
    loss = task.loss(outputs, batch).item()
    starts, ends = batch["labels"].unbind(-1)
    given = {name: value for name, value in batch.items() if name != "labels"}
    own = checkpoint.model(**given, start_positions=starts, end_positions=ends).loss
    assert loss == pytest.approx(own.item(), rel=1e-6)
    total = 0.0
    for logits, places in ((outputs.start_logits, starts), (outputs.end_logits, ends)):
        values = logits.detach().double().numpy()
        logs = values - np.log(np.exp(values).sum(-1, keepdims=True))
        total -= logs[np.arange(len(values)), places.numpy()].mean() / 2
    assert loss == pytest.approx(total, rel=1e-6)


def test_a_teacher_is_not_followed_on_padding(tmp_path):
    task = _task()
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])
    logits = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    ours = QuestionAnsweringModelOutput(start_logits=logits[0], end_logits=logits[1])
    other = logits.clone()
    other[:, mask == 0] += 50
    theirs = QuestionAnsweringModelOutput(start_logits=other[0], end_logits=other[1])
    assert task.taught(ours, theirs, {"attention_mask": mask}, 2.0).item() == pytest.approx(0, abs=1e-6)
    other[:, :, 0] += 3
    assert task.taught(ours, theirs, {"attention_mask": mask}, 2.0).item() > 0.1


def test_what_does_not_fit_is_refused(tmp_path):
    task, checkpoint = _task(12, 4), _checkpoint(tmp_path)
    long = _rows(("a", "b c", ("b",)), ("a b c d e f", "b c", ("b",)))
    with pytest.raises(
        InputError, match=r"row 2 of the data: the question has 6 tokens, which leaves no room"
    ):
        task.encode(long, checkpoint, [])
    bare = QuestionAnsweringModelOutput(start_logits=torch.zeros(1, 4), end_logits=torch.zeros(1, 5))
    with pytest.raises(
        InputError, match=r"starts and ends of the shapes \[\(1, 4\), \(1, 5\)\] for inputs \[1, 4\]"
    ):
        task.check_answers(bare, {"input_ids": torch.zeros(1, 4)}, checkpoint)


def _squad(path, count, seed):
    """Questions that name a letter, which the context holds once: the letter behind it is the answer.

    None is "a": the metric takes it for an article and drops it.
    """
    generator = np.random.default_rng(seed)
    articles = []
    for number in range(count):
        letters = generator.permutation(list("bcdefghijklmnop"))[:8]
        context, asked = " ".join(letters), generator.integers(0, 7)
        answer = {"text": letters[asked + 1], "answer_start": 2 * (int(asked) + 1)}
        question = {"id": f"{seed}-{number}", "question": str(letters[asked]), "answers": [answer]}
        articles.append({"title": f"t{number}", "paragraphs": [{"context": context, "qas": [question]}]})
    path.write_text(json.dumps({"version": "1.1", "data": articles}))
    return str(path)


@pytest.mark.train
def test_a_whole_run_and_compress(tmp_path, run_and_compress):
    """The metric of the run is that of the torch-free runner's answers, and compress finds it again."""
    train, dev = _squad(tmp_path / "t.json", 96, 0), _squad(tmp_path / "d.json", 64, 1)
    recipe = tiny_text_recipe(
        saved_bert(tmp_path / "student"), "question-answering",
        {"train": train, "validation": dev, "max_length": 16, "document_stride": 4}, distill={},
        verify={"examples": 64},
    )  # fmt: skip
    run, parity, said = run_and_compress(recipe, dev)
    scores = parity["scores"]["onnx_compressed"]
    assert (scores["metric"], scores["unit"], parity["examples"]) == ("f1", "question", 64)
    paragraphs = [
        article["paragraphs"][0] for article in json.loads((tmp_path / "d.json").read_text())["data"]
    ]
    questions = [paragraph["qas"][0] for paragraph in paragraphs]
    found = load(run / "onnx").answer(
        [question["question"] for question in questions], [paragraph["context"] for paragraph in paragraphs],
        max_tokens=16, stride=4, max_answer_tokens=30,
    )  # fmt: skip
    right = [
        answers[0].text == question["answers"][0]["text"]
        for answers, question in zip(found, questions, strict=True)
    ]
    assert np.mean(right) == pytest.approx(scores["values"]["exact_match"])
    assert "64 examples, baseline answer F1" in said
