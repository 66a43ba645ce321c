"""Parts of phrases that share no sentence: what a test of 10,000 rows carved from training rows needs."""

import numpy as np
import pytest
from trials.carving import carve, holders

from platon_compress.errors import InputError


def _inside(phrase, other):
    return f" {' '.join(phrase.split())} " in f" {' '.join(other.split())} "


@pytest.fixture(scope="module")
def rows():
    """Sentences of a small vocabulary with phrases cut out of them, as a treebank has them."""
    rng = np.random.default_rng(5)
    sentences = [" ".join(f"w{n}" for n in rng.integers(0, 60, size=12)) for _ in range(300)]
    phrases = []
    for sentence in sentences:
        words = sentence.split()
        for _ in range(6):
            first, last = sorted(rng.choice(13, size=2, replace=False))
            phrases.append(" ".join(words[first:last]))
    return [{"text": text, "label": n % 2} for n, text in enumerate([*sentences, *phrases])]


def test_a_phrase_is_held_by_the_longest():
    phrases = ["a fine film", "fine film", "film", "not a fine film", "bad film"]
    assert holders(phrases) == [{3}, {3}, {3, 4}, {3}, {4}]


def test_no_phrase_is_inside_one_of_another_part(rows):
    parts = carve(rows, "text", {"test": 500, "validation": 100}, "train", seed=0)
    assert 500 <= len(parts["test"]) < 520
    assert 100 <= len(parts["validation"]) < 120
    assert len(parts["train"]) > 500
    for name, part in parts.items():
        others = {row["text"] for other, chosen in parts.items() if other != name for row in chosen}
        assert not [(a["text"], b) for a in part for b in others if _inside(a["text"], b)]


def test_no_row_is_in_two_parts_and_all_of_one_sentence_are_kept(rows):
    parts = carve(rows, "text", {"test": 500}, "train", seed=0)
    labels = [row["label"] for part in parts.values() for row in part]
    assert len(labels) <= len(rows)
    sides = [{name for name, part in parts.items() if row in part} for row in rows]
    assert all(len(side) <= 1 for side in sides)
    lost = [row["text"] for row, side in zip(rows, sides, strict=True) if not side]
    assert lost  # single words mostly, that both parts have
    longer = [row["text"] for part in parts.values() for row in part if len(row["text"].split()) == 12]
    for text in lost:
        assert sum(_inside(text, sentence) for sentence in longer) > 1


def test_another_seed_is_another_split(rows):
    first, again, other = (carve(rows, "text", {"test": 500}, "train", seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_equal_texts_and_spaces_stay_together():
    rows = [{"text": text} for text in ("a b", "a  b", "c d", "e f", "")]
    parts = carve(rows, "text", {"test": 2}, "train", seed=0)
    sides = {name: [row["text"] for row in part] for name, part in parts.items()}
    assert any("a b" in part and "a  b" in part for part in sides.values())
    assert sum(map(len, sides.values())) == 4


def test_too_few_rows():
    with pytest.raises(InputError, match=r"2 rows.*leave none for train; ask for fewer"):
        carve([{"text": "a"}, {"text": "b"}], "text", {"test": 2}, "train", seed=0)
