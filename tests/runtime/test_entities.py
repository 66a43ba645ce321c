import numpy as np
import pytest
from exported_models import CORPUS
from transformers import pipeline

from platon_compress.errors import InputError
from platon_compress.runtime import load
from platon_compress.runtime.entities import Entity, _groups, _Piece

LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
LONG = " ".join(CORPUS)
TEXTS = [*CORPUS, "short", "", LONG, "  Anna  zzz\tqqq "]


def _theirs(rows):
    return [(row["entity_group"], row["start"], row["end"]) for row in rows]


def _same(found, expected, texts):
    # The pipeline also names spaces by themselves, and the first of those twice.
    expected = [[row for row in rows if row["start"] < row["end"]] for rows in expected]
    for text, own, rows in zip(texts, found, expected, strict=True):
        assert [(e.label, e.start, e.end) for e in own] == _theirs(rows), text
        assert np.allclose([e.score for e in own], [float(row["score"]) for row in rows], atol=1e-5)
        assert all(e.text == text[e.start : e.end] for e in own)


@pytest.mark.filterwarnings("ignore:Tokenizer does not support real words")
@pytest.mark.parametrize("aggregation", ["simple", "first", "average", "max"])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_entities_are_the_pipelines(exported, family, aggregation):
    model, tokenizer, folder = exported(family, "tokens", labels=LABELS)
    found = load(folder, threads=1).entities(TEXTS, aggregation=aggregation, stride=5, batch_size=3)
    theirs = pipeline(
        "token-classification", model=model, tokenizer=tokenizer, aggregation_strategy=aggregation, stride=5
    )
    expected = [theirs(text) if text else [] for text in TEXTS]
    _same(found, expected, TEXTS)
    assert sum(len(own) for own in found) > 20
    assert max(e.end for e in found[6]) > 150  # beyond the first window


def test_batches_change_nothing(exported):
    folder = exported("bert", "tokens", labels=LABELS)[2]
    one, many = (load(folder).entities(TEXTS, batch_size=size) for size in (1, 32))
    for own, other in zip(one, many, strict=True):
        assert [(e.label, e.start, e.end) for e in own] == [(e.label, e.start, e.end) for e in other]


def _labelled(*names, known):
    """A text of words "w0 w1 ...", each one token with its label."""
    text = " ".join(f"w{number}" for number in range(len(names)))
    places = [text.index(f"w{number}") for number in range(len(names))]
    scores = [np.where(np.array(known) == name, 0.9, 0.1 / (len(known) - 1)) for name in names]
    pieces = [_Piece(score, start, start + 2, False) for score, start in zip(scores, places, strict=True)]
    return [(e.label, e.text) for e in _groups(pieces, known, text)]


BIOES = ("O", "B-A", "I-A", "E-A", "S-A", "B-B", "E-B")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("B-A", "I-A", "E-A", "O", "S-A"), [("A", "w0 w1 w2"), ("A", "w4")]),
        (("S-A", "S-A", "B-A", "E-A"), [("A", "w0"), ("A", "w1"), ("A", "w2 w3")]),
        (("B-A", "E-B"), [("A", "w0"), ("B", "w1")]),
        (("E-A", "I-A"), [("A", "w0"), ("A", "w1")]),
    ],
)
def test_bioes_ends_are_ends(names, expected):
    assert _labelled(*names, known=BIOES) == expected


def test_letters_that_are_no_scheme_stay_in_the_name():
    known = ("O", "E-mail", "S-train", "B-PER", "I-PER", "place")
    assert _labelled("E-mail", "E-mail", "place", "B-PER", "I-PER", known=known) == [
        ("E-mail", "w0 w1"),
        ("place", "w2"),
        ("PER", "w3 w4"),
    ]


def test_an_entity_is_a_plain_value():
    assert Entity("PER", 0.5, 0, 4, "Anna") == Entity("PER", 0.5, 0, 4, "Anna")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"aggregation": "last"}, "no aggregation 'last'; choose from simple, first, average, max"),
        ({"stride": 46}, r"stride must lie in 0..45, got 46"),
        ({"stride": -1}, r"stride must lie in 0..45, got -1"),
    ],
)
def test_settings_that_do_not_fit(exported, settings, message):
    with pytest.raises(InputError, match=message):
        load(exported("bert", "tokens", labels=LABELS)[2]).entities(TEXTS, **settings)
