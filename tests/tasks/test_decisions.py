"""What a user reads of each task's outputs: how many decisions there are, and that one changed output changes one."""

import numpy as np
from tiny_berts import letter_tokenizer, saved_bert, tiny_bert

from platon_compress.recipe import DataSection
from platon_compress.report.words import UNITS
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import QuestionRows, RankingRows, Rows, SimilarityRows, TaggedRows
from platon_compress.tasks.models import load_checkpoint
from platon_compress.tasks.rooms import task_of


def _evaluation(folder, kind, name, rows, names=(), *, data=None, **config):
    """Of a tiny model of that kind for `rows`, in batches of two."""
    labels = {"id2label": dict(enumerate(names))} if names else {}
    model = tiny_bert(kind, **labels, **config)
    checkpoint = Checkpoint(model, letter_tokenizer(folder / "words"), name)
    task = task_of(name, data or DataSection(max_length=16))
    return task.evaluation(task.encode(rows, checkpoint, list(names)), checkpoint, 2)


def _outputs(evaluation, shape, seed=0):
    """Random logits of every batch; shape: of one row's, from the number of tokens."""
    generator = np.random.default_rng(seed)
    return [
        {"logits": generator.normal(size=(len(b["input_ids"]), *shape(b["input_ids"].shape[1])))}
        for b in evaluation.batches
    ]


def _changed(evaluation, before, after):
    pairs = zip(evaluation.decisions(before), evaluation.decisions(after), strict=True)
    return [place for place, (a, b) in enumerate(pairs) if a != b]


def test_the_class_of_a_row(tmp_path):
    rows = Rows(["a b", "b", "c d e"], ["good", "bad", "good"])
    evaluation = _evaluation(
        tmp_path, "BertForSequenceClassification", "text-classification", rows, ["bad", "good"]
    )
    outputs = [{"logits": np.array([[1.0, 0.0], [0.0, 1.0]])}, {"logits": np.array([[2.0, 3.0]])}]
    assert list(evaluation.decisions(outputs)) == [0, 1, 1]
    other = [outputs[0], {"logits": np.array([[3.0, 2.9]])}]
    assert _changed(evaluation, outputs, other) == [2]
    assert evaluation.decision in UNITS


def test_all_classes_of_a_row(tmp_path):
    rows = Rows(["a b", "b d", "d e"], [("a", "b"), ("b",), ()])
    evaluation = _evaluation(
        tmp_path, "BertForSequenceClassification", "text-classification", rows, ["a", "b"],
        data=DataSection(problem="multi-label", max_length=16), problem_type="multi_label_classification",
    )  # fmt: skip
    outputs = _outputs(evaluation, lambda tokens: (2,))
    assert len(evaluation.decisions(outputs)) == 3
    other = [{"logits": batch["logits"].copy()} for batch in outputs]
    other[1]["logits"][0] *= -1  # both classes of the last row
    assert _changed(evaluation, outputs, other) == [2]


def test_the_tag_of_a_word(tmp_path):
    rows = TaggedRows([["a", "b-c", "d"], ["e-f", "g"], ["h"]], [["O", "B-X", "I-X"], ["B-X", "O"], ["O"]])
    evaluation = _evaluation(
        tmp_path, "BertForTokenClassification", "token-classification", rows, ["O", "B-X", "I-X"]
    )
    outputs = _outputs(evaluation, lambda tokens: (tokens, 3))
    assert len(evaluation.decisions(outputs)) == 6
    other = [{"logits": batch["logits"].copy()} for batch in outputs]
    other[1]["logits"][0, 1] = np.roll(other[1]["logits"][0, 1], 1)  # the first piece of the last text
    assert _changed(evaluation, outputs, other) == [5]
    assert UNITS[evaluation.decision] == "words"


def test_the_answer_to_a_question(tmp_path):
    rows = QuestionRows(["0", "1"], ["a", "b"], ["c d e", "f g h"], ["0", "1"], [[("d", 2)], [("h", 4)]])
    evaluation = _evaluation(tmp_path, "BertForQuestionAnswering", "question-answering", rows)
    (batch,) = evaluation.batches
    logits = np.zeros((2, *batch["input_ids"].shape))
    logits[:, :, 4] = 9  # [CLS] a [SEP] c d e [SEP]
    outputs = [{"start_logits": logits[0], "end_logits": logits[1]}]
    assert evaluation.decisions(outputs) == ["d", "g"]
    moved = logits.copy()
    moved[:, 1, 5] = 10
    other = [{"start_logits": moved[0], "end_logits": moved[1]}]
    assert _changed(evaluation, outputs, other) == [1]
    assert UNITS[evaluation.decision] == "questions"


def test_the_first_passage_of_a_query(tmp_path):
    rows = RankingRows(
        ["a", "a", "b", "b"], ["c", "d", "e", "f"], ["one", "one", "two", "two"], [0.0, 1.0, 1.0, 0.0]
    )
    evaluation = _evaluation(tmp_path, "BertForSequenceClassification", "text-ranking", rows, ["LABEL_0"])
    outputs = [{"logits": np.array([[1.0], [2.0]])}, {"logits": np.array([[5.0], [4.0]])}]
    assert evaluation.decisions(outputs) == [1, 2]
    other = [outputs[0], {"logits": np.array([[3.0], [4.0]])}]
    assert _changed(evaluation, outputs, other) == [1]
    assert UNITS[evaluation.decision] == "queries"


def test_numbers_and_embeddings_are_no_decisions(tmp_path):
    numbers = _evaluation(
        tmp_path, "BertForSequenceClassification", "text-classification", Rows(["a", "b"], [1.0, 2.0]),
        ["LABEL_0"], data=DataSection(problem="regression", max_length=16), problem_type="regression",
    )  # fmt: skip
    assert numbers.decisions is None
    pairs = SimilarityRows([("a b", "c"), ("d", "e f")], [0.1, 0.9])
    assert _similarity(tmp_path, pairs).decisions is None


def _similarity(folder, rows):
    model = load_checkpoint(saved_bert(folder / "bi-encoder"), "sentence-similarity")
    task = task_of("sentence-similarity", DataSection(max_length=16))
    return task.evaluation(task.encode(rows, model, []), model, 2)
