"""Lengths of texts and of pairs, drawn at random but always the same."""

import json

import pytest
from text_lengths import read_texts, token_lengths

from platon_compress.errors import InputError


def words(*columns, truncation, max_length):
    """A tokenizer of words: two special tokens, one more between the two texts of a pair."""
    assert truncation
    rows = zip(*columns, strict=True)
    counts = [sum(len(text.split()) for text in row) + len(row) + 1 for row in rows]
    return {"input_ids": [[0] * min(count, max_length) for count in counts]}


def test_a_column_of_a_table(tmp_path):
    path = tmp_path / "dev.tsv"
    path.write_text('sentence\tlabel\nan "open quote\t1\none\u2028line\t0\n\t1\n', encoding="utf-8")
    texts = read_texts(path, "sentence")
    assert texts == ['an "open quote', "one\u2028line", ""]
    lengths = token_lengths(texts, words, examples=10, max_length=4)
    assert sorted(lengths) == [2, 4, 4]
    assert lengths == token_lengths(texts, words, examples=10, max_length=4)
    assert len(token_lengths(texts, words, examples=2, max_length=4)) == 2


def test_pairs_of_squad(tmp_path):
    questions = [{"question": "who is it"}, {"question": "why"}]
    paragraph = {"context": "because it is so", "qas": questions}
    path = tmp_path / "dev.json"
    path.write_text(json.dumps({"data": [{"paragraphs": [paragraph]}]}))
    texts = read_texts(path)
    assert texts == [("who is it", "because it is so"), ("why", "because it is so")]
    assert sorted(token_lengths(texts, words, examples=2, max_length=64)) == [8, 10]


@pytest.mark.parametrize(("texts", "examples"), [([], 3), (["a"], 0)])
def test_nothing_to_count(texts, examples):
    with pytest.raises(InputError, match="lengths need at least 1 text"):
        token_lengths(texts, words, examples=examples, max_length=8)
