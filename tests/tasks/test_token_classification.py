"""Tags of words: where they stand in word pieces and windows, how they are scored, and what is refused."""

import numpy as np
import pytest
import torch
from tiny_berts import letter_tokenizer, saved_bert, tiny_bert, tiny_text_recipe
from transformers.modeling_outputs import TokenClassifierOutput

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection, DistillSection
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import TaggedRows
from platon_compress.tasks.distillation import make_teacher
from platon_compress.tasks.token_classification import TokenClassification

KIND = "BertForTokenClassification"
TAGS = ["O", "B-X", "I-X"]
# A word of two letters has no piece of its own in the vocabulary of letters: "ab" is one unknown piece; "a-b" is three.
ROWS = TaggedRows(
    [["a", "b-c", "d"], ["e-f", "g"], ["h"]], [["O", "B-X", "I-X"], ["B-X", "O"], ["O"]]
)  # fmt: skip


def _task(length=16, stride=None):
    return TokenClassification(DataSection(max_length=length, document_stride=stride))


def _checkpoint(folder, tags=TAGS, padding_side="right", seed=0):
    words = letter_tokenizer(folder / "words", padding_side=padding_side)
    model = tiny_bert(KIND, seed=seed, id2label=dict(enumerate(tags)))
    return Checkpoint(model, words, "token-classification")


def _gold(task, examples, checkpoint, batch_size=2):
    outputs = []
    for start in range(0, len(examples), batch_size):
        items = [examples[i] for i in range(start, min(start + batch_size, len(examples)))]
        labels = task.collate(items, checkpoint.processor)["labels"].numpy()
        outputs.append({"logits": 9.0 * (labels[..., None] == np.arange(len(TAGS)))})
    return outputs


def test_the_first_piece_answers_for_its_word(tmp_path):
    examples = _task().encode(ROWS, _checkpoint(tmp_path), TAGS)
    assert examples.labels == [
        [-100, 0, 1, -100, -100, 2, -100],
        [-100, 1, -100, -100, 0, -100],
        [-100, 0, -100],
    ]
    assert examples.notes[0] == [(0, 1), (1, 2), (2, 5)]


@pytest.mark.parametrize(
    ("side", "row"), [("right", [-100, 0, *[-100] * 5]), ("left", [*[-100] * 5, 0, -100])]
)
def test_padding_has_no_label(tmp_path, side, row):
    task, checkpoint = _task(), _checkpoint(tmp_path, padding_side=side)
    examples = task.encode(ROWS, checkpoint, TAGS)
    batch = task.collate([examples[i] for i in range(3)], checkpoint.processor)
    assert batch["labels"].shape == batch["input_ids"].shape
    assert batch["labels"][2].tolist() == row
    pieces = batch["input_ids"][batch["labels"] != -100].tolist()
    assert checkpoint.processor.convert_ids_to_tokens(pieces) == ["a", "b", "d", "e", "g", "h"]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_perfect_model_scores_one(tmp_path, side):
    """Over windows and padding; a model that says O everywhere finds no entity."""
    words = list("abcdefghijklmnop") * 2
    tags = ["B-X" if letter in "cfk" else "I-X" if letter in "dl" else "O" for letter in words]
    rows = TaggedRows([*ROWS.words, words], [*ROWS.tags, tags])
    task, checkpoint = _task(10, 3), _checkpoint(tmp_path, padding_side=side)
    examples = task.encode(rows, checkpoint, TAGS)
    assert examples.owners[:3] == [0, 1, 2]
    assert len(examples.owners) > 6
    evaluation = task.evaluation(examples, checkpoint, 2)
    assert evaluation.examples == 4
    scores = evaluation.score(_gold(task, examples, checkpoint))
    assert scores.values == {"f1": 1.0, "precision": 1.0, "recall": 1.0}
    silent = [
        {"logits": np.eye(3)[np.zeros(out["logits"].shape[:2], int)]}
        for out in _gold(task, examples, checkpoint)
    ]
    assert evaluation.score(silent).value == 0


def test_the_window_where_a_word_is_farthest_from_an_edge_answers(tmp_path):
    """Windows of 6 words that share 4 over 8 words: words 0 to 5, and words 2 to 7."""
    rows = TaggedRows([list("abcdefgh")], [["B-X"] * 8])
    task, checkpoint = _task(8, 4), _checkpoint(tmp_path)
    examples = task.encode(rows, checkpoint, TAGS)
    assert [[word for word, _ in window] for window in examples.notes] == [
        [0, 1, 2, 3, 4, 5],
        [2, 3, 4, 5, 6, 7],
    ]
    first, second = np.zeros((2, 1, 8, 3))
    first[..., 1] = second[..., 0] = 9  # the first window says B-X to all, the second says O
    scores = task.evaluation(examples, checkpoint, 1).score([{"logits": first}, {"logits": second}])
    # Word 3 is 4th of 6 in the first and 2nd in the second; word 4 the other way round: words 0 to 3 are right.
    assert scores.values["recall"] == pytest.approx(4 / 8)
    assert scores.values["precision"] == 1.0


def test_names_and_teachers(tmp_path):
    task, student = _task(), _checkpoint(tmp_path)
    shuffled = _checkpoint(tmp_path, ["I-X", "O", "B-X"], seed=1)
    assert task.names(ROWS, None) == TAGS
    assert task.names(ROWS, shuffled.model.config) == ["I-X", "O", "B-X"]
    assert task.known_names(ROWS, shuffled) == ["I-X", "O", "B-X"]
    assert make_teacher(shuffled, "t", DistillSection(), task, TAGS, student).columns == (1, 2, 0)
    with pytest.raises(
        InputError, match=r"'t' does not fit: it knows 2 classes \(O, B-Y\), the data has 3 \(O, B-X, I-X\)"
    ):
        make_teacher(_checkpoint(tmp_path, ["O", "B-Y"]), "t", DistillSection(), task, TAGS, student)
    assert task.counted(ROWS, TAGS) == {"O": 3, "B-X": 2, "I-X": 1}


def test_unknown_tags_and_texts_without_entities_are_refused(tmp_path):
    task, checkpoint = _task(), _checkpoint(tmp_path)
    odd = TaggedRows([["a"], ["b", "c"]], [["O"], ["O", "B-Y"]])
    with pytest.raises(
        InputError, match=r"row 2 of the data: tag 'B-Y' is not among the tags of the training data"
    ):
        task.encode(odd, checkpoint, TAGS)
    with pytest.raises(
        InputError, match=r"row 2 of the data: tag 'B-Y' is not among the model's tags \(O, B-X"
    ):
        task.known_names(odd, checkpoint)
    plain = TaggedRows([["a"]], [["O"]])
    with pytest.raises(InputError, match=r"training tags hold one tag only \('O'\)"):
        task.names(plain, None)
    with pytest.raises(
        InputError, match=r"no word of the data has a tag other than O, so f1 would say nothing"
    ):
        task.check_rows(plain)
    outputs = TokenClassifierOutput(logits=torch.zeros(1, 4, 2))
    with pytest.raises(InputError, match=r"answers with \[1, 4, 2\], not with a score for each tag"):
        task.check_answers(outputs, {"input_ids": torch.zeros(1, 4)}, checkpoint)


def test_the_loss_leaves_out_what_has_no_label(tmp_path):
    task, checkpoint = _task(), _checkpoint(tmp_path)
    examples = task.encode(ROWS, checkpoint, TAGS)
    batch = task.collate([examples[i] for i in range(3)], checkpoint.processor)
    outputs = task.forward(checkpoint.model, batch)
    labels = batch["labels"].numpy()
    logits = outputs.logits.detach().double().numpy()
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -np.mean([logs[row, place, labels[row, place]] for row, place in np.argwhere(labels != -100)])
    assert task.loss(outputs, batch).item() == pytest.approx(wanted, rel=1e-5)
    mask = batch["attention_mask"].bool()
    theirs = TokenClassifierOutput(logits=outputs.logits.detach().clone())
    theirs.logits[~mask] += torch.tensor([0.0, 50.0, 0.0])
    assert task.taught(outputs, theirs, batch, 2.0).item() == pytest.approx(0, abs=1e-6)


def _conll(path, count, seed):
    """A name is an "a" with the letters "b" behind it."""
    generator, lines = np.random.default_rng(seed), []
    for _ in range(count):
        letters = list(generator.choice(list("abcdefgh"), generator.integers(3, 12)))
        for place, letter in enumerate(letters):
            inside = letter == "b" and "a" in "".join(letters[:place]).rstrip("b")[-1:]
            lines.append(f"{letter}\t{'B-X' if letter == 'a' else 'I-X' if inside else 'O'}")
        lines.append("")
    path.write_text("\n".join(lines) + "\n")
    return str(path)


@pytest.mark.train
def test_a_whole_run_and_compress(tmp_path, run_and_compress):
    train, dev = _conll(tmp_path / "t.conll", 128, 0), _conll(tmp_path / "d.conll", 64, 1)
    recipe = tiny_text_recipe(
        saved_bert(tmp_path / "student"), "token-classification",
        {"train": train, "validation": dev, "max_length": 8, "document_stride": 2}, distill={},
        train={"epochs": 8, "learning_rate": 5e-3}, prune={"sparsity": 0.5},
    )  # fmt: skip
    _, parity, said = run_and_compress(recipe, dev)
    scores = parity["scores"]["onnx_compressed"]
    assert (scores["metric"], scores["unit"], parity["examples"]) == ("f1", "text", 64)
    assert scores["values"]["f1"] > 0.5
    assert "64 examples, baseline entity F1" in said
