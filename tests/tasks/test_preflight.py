"""Everything that would stop a run later is found before its first step, by really doing it once."""

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from platon_compress.errors import InputError
from platon_compress.recipe import DataSection
from platon_compress.tasks import preflight
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import Origin, Rows
from platon_compress.tasks.dimensions import default_tokens, picture_size, positions
from platon_compress.tasks.image_classification import ImageClassification
from platon_compress.tasks.models import classifier_head
from platon_compress.tasks.synthetic import synthetic_batches
from platon_compress.tasks.text_classification import TextClassification
from platon_compress.tasks.untrained import build_model

PICTURES = ImageClassification(DataSection())
SIZES = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
TEXTS = [f"t{i} t{i + 1} t3" for i in range(20)]


def _tokenizer(words=40, **tokens):
    names = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *(f"t{i}" for i in range(words - 4))]
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    given = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", **tokens}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **given)


def _text(kind="Electra", words=40, tokenizer=None, **fields):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=words, max_position_embeddings=24, num_labels=2, **{**SIZES, **fields}
    )
    model = getattr(transformers, f"{kind}ForSequenceClassification")(config).eval()
    return Checkpoint(model, tokenizer or _tokenizer(words), "text-classification")


def _task(length=16):
    return TextClassification(DataSection(max_length=length))


def _encoded(checkpoint, texts=TEXTS, length=16):
    rows = Rows(texts, ["a", "b"] * (len(texts) // 2), Origin("train file t.csv"))
    return _task(length).encode(rows, checkpoint, ["a", "b"])


def test_a_good_pair_of_model_and_rows_passes():
    checkpoint = _text()
    preflight.check_blocks(checkpoint)
    preflight.check_inputs(checkpoint)
    preflight.check_tokenizer(checkpoint)
    preflight.check_batch(checkpoint, _task(), _encoded(checkpoint))
    preflight.check_batch(checkpoint)
    preflight.check_lengths(checkpoint, {"plan.tokens": (24,), "bench.tokens": None})


def test_a_tokenizer_that_cannot_pad():
    with pytest.raises(InputError, match=r"no padding token.*set tokenizer\.pad_token"):
        preflight.check_tokenizer(_text(tokenizer=_tokenizer(pad_token=None)))


def test_special_tokens_beyond_the_table():
    tokenizer = _tokenizer()
    tokenizer.add_special_tokens({"mask_token": "[MASK]"})
    with pytest.raises(InputError, match=r"\[MASK\] is token 40, but the model's table has 40 words"):
        preflight.check_tokenizer(_text(tokenizer=tokenizer))


def test_rows_with_tokens_beyond_the_table_are_named():
    checkpoint = _text(words=20, tokenizer=_tokenizer(40))
    with pytest.raises(
        InputError, match=r"row 16 of the train file t\.csv: the tokenizer gives token 20, .* 20 words"
    ):
        _encoded(checkpoint)


@pytest.mark.parametrize(("kind", "limit"), [("Electra", 24), ("Roberta", 22)])
def test_positions_that_can_be_reached(kind, limit):
    """RoBERTa's positions begin behind that of the padding: two of its table are never used."""
    checkpoint = _text(kind, pad_token_id=1)
    assert positions(checkpoint.model) == limit
    assert default_tokens(checkpoint, 512) == limit
    preflight.check_lengths(checkpoint, {"plan.tokens": (limit,)})
    with pytest.raises(
        InputError, match=rf"bench\.tokens is {limit + 1}, but the model has {limit} positions"
    ):
        preflight.check_lengths(checkpoint, {"plan.tokens": (8,), "bench.tokens": (4, limit + 1)})
    with pytest.raises(
        InputError, match=rf"data\.max_length is {limit + 1}, but the model has {limit} positions"
    ):
        _encoded(checkpoint, length=limit + 1)


def test_inputs_that_the_model_does_not_take_are_left_out():
    checkpoint = _text("DistilBert", dim=16, n_layers=2, n_heads=2, hidden_dim=24)
    assert set(_encoded(checkpoint).features[0]) == {"input_ids", "attention_mask"}
    assert set(synthetic_batches(checkpoint, examples=2)[0]) == {"input_ids", "attention_mask"}


@pytest.mark.parametrize(
    ("labels", "least", "message"),
    [
        (["a", "b"] * 20, 64, r"the train file t\.csv gives 40 validation rows, and verifying needs 64"),
        (["a"] * 64, 64, r"all 64 validation rows have the label 'a'"),
    ],
)
def test_validation_rows_that_say_nothing(labels, least, message):
    rows = Rows(["x"] * len(labels), labels, Origin("train file t.csv"))
    with pytest.raises(InputError, match=message):
        preflight.check_validation(_task(), rows, least)


def test_a_model_without_blocks():
    config = transformers.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=24)
    checkpoint = Checkpoint(transformers.GPT2ForSequenceClassification(config), None, "text-classification")
    with pytest.raises(InputError, match=r"no repeated blocks of linear layers"):
        preflight.check_blocks(checkpoint)


def test_a_model_that_does_not_hide_padding():
    config = transformers.FNetConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, intermediate_size=24)
    checkpoint = Checkpoint(transformers.FNetForSequenceClassification(config), None, "text-classification")
    with pytest.raises(InputError, match=r"takes no attention_mask, so padding would change its answers"):
        preflight.check_inputs(checkpoint)


def test_a_head_that_does_not_fit_its_config():
    checkpoint = _text()
    checkpoint.model.classifier.out_proj = torch.nn.Linear(16, 5)
    with pytest.raises(
        InputError,
        match=r"does not run on .*|answers with \[8, 5\], not with a score for each class, \[8, 2\]",
    ):
        preflight.check_batch(checkpoint, _task(), _encoded(checkpoint))


def test_a_model_that_needs_more_than_its_inputs():
    with pytest.raises(
        InputError, match=r"XmodForSequenceClassification does not run on input_ids \[2, 8\].*language"
    ):
        preflight.check_batch(_text("Xmod", languages=["en_XX", "de_DE"], pad_token_id=1))


VIT = {"model_type": "vit", "image_size": 16, "patch_size": 8, "num_channels": 3, **SIZES}


def _pictures(side):
    return Rows([np.zeros((side, side, 3), np.uint8)] * 8, ["a", "b"] * 4, Origin("train file p.npz"))


def test_pictures_of_a_size_that_the_model_does_not_take():
    checkpoint = build_model(VIT, "image-classification", classifier_head(["a", "b"]), 1)
    preflight.check_batch(checkpoint, PICTURES, PICTURES.encode(_pictures(16), checkpoint, ["a", "b"]))
    with pytest.raises(InputError, match=r"does not run on pixel_values \[8, 3, 20, 20\].*: .*20"):
        preflight.check_batch(checkpoint, PICTURES, PICTURES.encode(_pictures(20), checkpoint, ["a", "b"]))


def test_tokens_of_a_picture_are_known_or_asked_for():
    vit = build_model(VIT, "image-classification", classifier_head(["a", "b"]), 1)
    assert (default_tokens(vit), picture_size(vit)) == (5, (16, 16))
    config = transformers.PvtV2Config(
        hidden_sizes=[16, 32], depths=[1, 1], num_attention_heads=[1, 2], mlp_ratios=[2, 2], sr_ratios=[2, 1],
        patch_sizes=[7, 3], strides=[4, 2], num_encoder_blocks=2,
    )  # fmt: skip
    model = transformers.PvtV2ForImageClassification(config).eval()
    pvt = Checkpoint(
        model, transformers.ViTImageProcessor(size={"height": 32, "width": 32}), "image-classification"
    )
    preflight.check_batch(pvt)
    preflight.check_lengths(pvt, {"plan.tokens": (16,)})
    del config.image_size
    with pytest.raises(
        InputError, match=r"names no (image|patch)_size; say how many tokens a picture makes: plan\.tokens"
    ):
        preflight.check_lengths(pvt, {"plan.tokens": None, "bench.tokens": None})


def test_a_step_is_timed_and_leaves_the_model_as_it_was():
    checkpoint = _text()
    before = {name: tensor.clone() for name, tensor in checkpoint.model.state_dict().items()}
    assert preflight.seconds_per_step(_task(), checkpoint, _encoded(checkpoint), 4) > 0
    assert not checkpoint.model.training
    assert all(p.grad is None for p in checkpoint.model.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in checkpoint.model.state_dict().items())
