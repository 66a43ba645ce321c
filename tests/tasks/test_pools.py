"""Examples judged in batches of nearly one length: the answers and their order are those of any other batches."""

import random

import numpy as np
import pytest
from tiny_berts import LETTERS, letter_tokenizer, saved_bert, tiny_bert

from platon_compress.export.parity import torch_outputs
from platon_compress.recipe import DataSection
from platon_compress.scoring import batch_rows
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import QuestionRows, RankingRows, Rows, SimilarityRows, TaggedRows
from platon_compress.tasks.models import load_checkpoint
from platon_compress.tasks.pools import pooled_evaluation
from platon_compress.tasks.rooms import task_of

_DRAWN = random.Random(0)
WORDS = [_DRAWN.choices(list("abcdefgh"), k=_DRAWN.randint(1, 24)) for _ in range(150)]
TEXTS = [" ".join(words) for words in WORDS]
CLASSES = ["bad", "good"]
TAGS = ["O", "B-X", "I-X"]
NUMBERS = [float(len(words)) for words in WORDS]

CASES = {
    "classes": (
        "text-classification", "BertForSequenceClassification", CLASSES, {},
        Rows(TEXTS, [CLASSES["a" in words] for words in WORDS]),
    ),
    "several classes": (
        "text-classification", "BertForSequenceClassification", CLASSES, {"problem": "multi-label"},
        Rows(TEXTS, [tuple(CLASSES[: 1 + ("a" in words)]) for words in WORDS]),
    ),
    "numbers": (
        "text-classification", "BertForSequenceClassification", ["LABEL_0"], {"problem": "regression"}, Rows(TEXTS, NUMBERS),
    ),
    "tags": (
        "token-classification", "BertForTokenClassification", TAGS, {},
        TaggedRows(WORDS, [["B-X" if word == "a" else "O" for word in words] for words in WORDS]),
    ),
    "answers": (
        "question-answering", "BertForQuestionAnswering", [], {},
        QuestionRows(
            [str(i) for i in range(150)], ["a"] * 150, TEXTS, ["one", "two", "three"] * 50,
            [[(text[0], 0)] for text in TEXTS],
        ),
    ),
    "lists": (
        "text-ranking", "BertForSequenceClassification", ["LABEL_0"], {},
        RankingRows(["a"] * 150, TEXTS, [str(i // 5) for i in range(150)], [float(i % 5 == 2) for i in range(150)]),
    ),
}  # fmt: skip


def _case(folder, name):
    task_name, kind, names, settings, rows = CASES[name]
    labels = {"id2label": dict(enumerate(names))} if names else {}
    model = tiny_bert(kind, seed=1, spread=0.3, **labels)
    checkpoint = Checkpoint(model, letter_tokenizer(folder / "words", (*LETTERS, "0")), task_name)
    task = task_of(task_name, DataSection(max_length=40, **settings))
    return task, task.encode(rows, checkpoint, names), checkpoint


@pytest.mark.parametrize("name", CASES)
def test_the_answers_are_those_of_other_batches(name, tmp_path):
    task, examples, checkpoint = _case(tmp_path, name)
    usual, pooled = task.evaluation(examples, checkpoint, 4), pooled_evaluation(task, examples, checkpoint, 4)
    assert _tokens(pooled) < 0.85 * _tokens(usual)
    assert sum(map(batch_rows, pooled.batches)) == len(examples)
    one, other = (torch_outputs(checkpoint.model, each.batches) for each in (usual, pooled))
    expected, scores = usual.score(one), pooled.score(other)
    # Products of other lengths may be rounded otherwise, which changes the ranks of what is nearly equal.
    assert scores.values == pytest.approx(expected.values, abs=1e-3)
    # unit by unit: what is resampled stands in its place
    np.testing.assert_allclose(scores.replicates, expected.replicates, atol=1e-3)
    assert (pooled.trivial, pooled.examples, pooled.scale) == (usual.trivial, usual.examples, usual.scale)
    if usual.decisions is None:
        assert pooled.decisions is None
        return
    assert list(pooled.decisions(other)) == list(usual.decisions(one))
    assert len({str(each) for each in usual.decisions(one)}) > 1, "the answers tell the examples apart"


def _tokens(evaluation):
    return sum(batch["input_ids"].size for batch in evaluation.batches)


def test_most_batches_hold_padding(tmp_path):
    pooled = pooled_evaluation(*_case(tmp_path, "classes"), 4)
    padded = [not batch["attention_mask"].all() for batch in pooled.batches]
    assert np.mean(padded) > 0.8


def test_pairs_of_texts_are_judged_as_they_were(tmp_path):
    model = load_checkpoint(saved_bert(tmp_path / "bi-encoder"), "sentence-similarity")
    task = task_of("sentence-similarity", DataSection(max_length=16))
    rows = SimilarityRows([("a b c d", "c"), ("d", "a b c d"), ("e", "c")], [0.1, 0.9, 0.3])
    examples = task.encode(rows, model, [])
    usual, pooled = task.evaluation(examples, model, 2), pooled_evaluation(task, examples, model, 2)
    for one, other in zip(usual.batches, pooled.batches, strict=True):
        assert all(np.array_equal(other[key], value) for key, value in one.items())
