"""Encoding, label numbering, batches and synthetic inputs."""

import numpy as np
import pytest
import torch
from tiny_berts import letter_tokenizer, tiny_bert
from transformers import BertConfig

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.classes import class_names, in_model_order, known_class_names
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import window_sizes
from platon_compress.tasks.image_classification import ImageClassification
from platon_compress.tasks.models import classifier_head
from platon_compress.tasks.synthetic import example_inputs, synthetic_batches
from platon_compress.tasks.text_classification import TextClassification
from platon_compress.tasks.untrained import build_model

HEAD = classifier_head(["a", "b"])
PICTURES = ImageClassification(DataSection())
TINY_VIT = {
    "model_type": "vit",
    "image_size": 8,
    "patch_size": 4,
    "num_channels": 1,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def _task(max_length):
    return TextClassification(DataSection(max_length=max_length))


@pytest.fixture
def text_checkpoint(tmp_path):
    model = tiny_bert(id2label={0: "bad", 1: "good"}, label2id={"bad": 0, "good": 1})
    return Checkpoint(model, letter_tokenizer(tmp_path), "text-classification")


def test_class_names_are_in_numeric_order():
    assert class_names(Rows(range(3), ["10", "2", "2"])) == ["2", "10"]
    assert class_names(Rows(range(3), ["b", "a", "b"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["x"] * 4, r"hold one class only \('x'\)"),
        ([str(i) for i in range(60)], r"holds 60 values in 60 rows"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(InputError, match=message):
        class_names(Rows(range(len(labels)), labels))


def test_known_class_names_takes_names_or_numbers(text_checkpoint):
    assert known_class_names(Rows([0], ["good"]), text_checkpoint) == ["bad", "good"]
    assert known_class_names(Rows([0, 1], ["1", "0"]), text_checkpoint) == ["0", "1"]
    with pytest.raises(
        InputError, match=r"row 2 of the data: label 'ugly' .* none of the model's: bad, good"
    ):
        known_class_names(Rows([0, 1], ["good", "ugly"]), text_checkpoint)


@pytest.mark.parametrize("labels", [["1", "2", "1"], ["1", "1", "1"]])
def test_numbers_that_may_count_from_one_are_refused(text_checkpoint, labels):
    with pytest.raises(InputError, match=r"label '1' of the data .* or the numbers 0 to 1 in their order"):
        known_class_names(Rows([0, 1, 2], labels), text_checkpoint)


@pytest.mark.parametrize("problem", ["regression", "multi_label_classification"])
def test_other_problems_than_classes_have_no_class_names(text_checkpoint, problem):
    text_checkpoint.model.config.problem_type = problem
    with pytest.raises(InputError, match=rf"no classifier of one class a row \({problem}\)"):
        known_class_names(Rows([0], ["good"]), text_checkpoint)


def test_a_classifier_of_the_same_classes_keeps_their_order():
    config = BertConfig(id2label={0: "pos", 1: "neg"}, label2id={"pos": 0, "neg": 1})
    assert in_model_order(["neg", "pos"], config) == ["pos", "neg"]
    assert in_model_order(["bad", "good"], config) == ["bad", "good"]
    assert in_model_order(["neg", "none", "pos"], config) == ["neg", "none", "pos"]


def test_negative_class_numbers_are_in_order():
    assert class_names(Rows(range(3), ["1", "-1", "0"])) == ["-1", "0", "1"]


def test_batches_are_padded_to_their_longest(text_checkpoint):
    rows = Rows(["a b c d", "a", "b c"], ["good", "bad", "good"])
    task = _task(16)
    examples = task.encode(rows, text_checkpoint, ["bad", "good"])
    evaluation = task.evaluation(examples, text_checkpoint, 2)
    assert [batch["input_ids"].shape for batch in evaluation.batches] == [(2, 6), (1, 4)]
    assert evaluation.batches[0]["attention_mask"].sum(1).tolist() == [6, 3]
    assert not any("labels" in batch for batch in evaluation.batches)
    good = [{"logits": np.array([[0, 1], [0, 1]])}, {"logits": np.array([[0, 1]])}]
    assert evaluation.score(good).value == pytest.approx(2 / 3)
    assert evaluation.trivial == pytest.approx(2 / 3)


def test_windows_are_as_long_as_the_recipe_says_or_the_model_can_read(text_checkpoint):
    assert window_sizes(DataSection(max_length=24), text_checkpoint) == (24, 8)
    assert window_sizes(DataSection(max_length=24, document_stride=5), text_checkpoint) == (24, 5)
    assert window_sizes(DataSection(), text_checkpoint, 384) == (64, 21)
    text_checkpoint.model.config.max_position_embeddings = -1  # no limit, as with relative positions
    assert window_sizes(DataSection(), text_checkpoint, 384) == (384, 128)
    assert window_sizes(DataSection(document_stride=0), text_checkpoint) == (128, 0)
    with pytest.raises(
        InputError, match=r"document_stride is 200, but a window of this model has 128 tokens"
    ):
        window_sizes(DataSection(document_stride=200), text_checkpoint)


def test_encode_refuses_what_does_not_fit(text_checkpoint):
    rows = Rows(["a"], ["ugly"])
    with pytest.raises(
        InputError, match=r"row 1 of the data: label 'ugly' is not among the classes bad, good"
    ):
        _task(16).encode(rows, text_checkpoint, ["bad", "good"])
    with pytest.raises(InputError, match=r"data\.max_length is 65, but the model has 64 positions"):
        _task(65).encode(Rows(["a"], ["bad"]), text_checkpoint, ["bad", "good"])
    bare = Checkpoint(text_checkpoint.model, None, "text-classification")
    with pytest.raises(InputError, match=r"has no tokenizer to prepare the data with"):
        _task(16).encode(Rows(["a"], ["bad"]), bare, ["bad", "good"])


def test_synthetic_texts_have_mixed_lengths_and_run(text_checkpoint):
    batches = synthetic_batches(text_checkpoint, examples=20, tokens=12)
    assert sum(len(b["input_ids"]) for b in batches) == 20
    lengths = {int(n) for b in batches for n in b["attention_mask"].sum(1)}
    assert len(lengths) > 3
    with torch.inference_mode():
        out = text_checkpoint.model(**example_inputs(text_checkpoint, tokens=12))
    assert out.logits.shape == (2, 2)


def test_images_are_scaled_to_the_models_range():
    checkpoint = build_model(TINY_VIT, "image-classification", HEAD, seed=1)
    images = np.stack([np.zeros((8, 8, 1), np.uint8), np.full((8, 8, 1), 255, np.uint8)])
    examples = PICTURES.encode(Rows(images, ["a", "b"]), checkpoint, ["a", "b"])
    assert [float(examples[i]["pixel_values"].mean()) for i in (0, 1)] == pytest.approx([-1, 1])
    assert checkpoint.model.config.id2label == {0: "a", 1: "b"}
    assert example_inputs(checkpoint)["pixel_values"].shape == (2, 1, 8, 8)


def test_the_same_seed_builds_the_same_model():
    one, two = (build_model(TINY_VIT, "image-classification", HEAD, seed=5).model for _ in range(2))
    assert all(
        torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    with pytest.raises(InputError, match=r"model_type is 'nope', which transformers does not know"):
        build_model({"model_type": "nope"}, "image-classification", HEAD, seed=5)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_get_the_channels_of_the_model(channels):
    checkpoint = build_model({**TINY_VIT, "num_channels": channels}, "image-classification", HEAD, 1)
    grey, colour = np.full((8, 8, 1), 90, np.uint8), np.full((8, 8, 4), 90, np.uint8)
    examples = PICTURES.encode(Rows([grey, colour], ["a", "b"]), checkpoint, ["a", "b"])
    assert examples[0]["pixel_values"].shape == (channels, 8, 8)
    assert np.array_equal(examples[0]["pixel_values"], examples[1]["pixel_values"])


def test_pictures_of_two_sizes_without_a_resize_are_refused():
    checkpoint = build_model(TINY_VIT, "image-classification", HEAD, seed=1)
    small, large = np.zeros((8, 8, 1), np.uint8), np.zeros((9, 8, 1), np.uint8)
    with pytest.raises(InputError, match=r"scale .* to one size"):
        PICTURES.encode(Rows([small, large], ["a", "b"]), checkpoint, ["a", "b"])
