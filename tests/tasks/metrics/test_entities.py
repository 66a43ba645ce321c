"""Against seqeval: whole entities."""

import warnings

import numpy as np
import pytest
from seqeval import metrics

from platon_compress.errors import InputError
from platon_compress.scoring import resampled
from platon_compress.tasks.metrics.entities import entity_scores

LIBRARY = {"f1": metrics.f1_score, "precision": metrics.precision_score, "recall": metrics.recall_score}
TAGS = {
    "BIO": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "IOBES": ["O", "B-PER", "I-PER", "E-PER", "S-PER", "B-LOC", "I-LOC", "E-LOC", "S-LOC"],
    "untyped": ["O", "B", "I"],
    "with hyphens": ["O", "B-creative-work", "I-creative-work"],
}


def _texts(tags, texts=25, seed=0):
    """Tags in disorder too, as a model gives them: I- behind O, types that change inside."""
    generator = np.random.default_rng(seed)
    gold = [[str(tag) for tag in generator.choice(tags, generator.integers(1, 12))] for _ in range(texts)]
    return [[tag if generator.random() < 0.8 else "O" for tag in text] for text in gold], gold


@pytest.mark.parametrize("scheme", TAGS)
@pytest.mark.parametrize("metric", LIBRARY)
def test_values_are_those_of_seqeval(scheme, metric):
    predicted, gold = _texts(TAGS[scheme])
    scores = entity_scores(predicted, gold, metric)
    assert 0 < scores.value < 1
    assert scores.values == pytest.approx({name: f(gold, predicted) for name, f in LIBRARY.items()})


@pytest.mark.usefixtures("few_resamples")
def test_every_resample_is_that_of_seqeval():
    predicted, gold = _texts(TAGS["BIO"], texts=6)
    expected = resampled(
        6, lambda chosen: metrics.f1_score([gold[n] for n in chosen], [predicted[n] for n in chosen])
    )
    scores = entity_scores(predicted, gold)
    assert scores.replicates == pytest.approx(expected)
    assert (scores.unit, scores.units) == ("text", 6)


def test_an_entity_is_right_as_a_whole_or_not_at_all():
    gold = [["B-PER", "I-PER", "O", "B-LOC"], []]
    predicted = [["B-PER", "O", "O", "B-LOC"], []]
    scores = entity_scores(predicted, gold)
    assert scores.values == {"f1": 0.5, "precision": 0.5, "recall": 0.5}


def test_where_there_is_no_entity_every_value_is_0():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = entity_scores([["O", "O"], ["O"]], [["O", "O"], ["O"]])
    assert set(scores.values.values()) == {0.0}
    assert not scores.replicates.any()


@pytest.mark.parametrize(
    ("predicted", "gold", "said"),
    [
        ([["PER"]], [["B-PER"]], "'PER' is no tag of an entity; give BIO, IOB2 or IOBES"),
        ([["O"]], [["U-PER"]], "'U-PER' is no tag .* call L E and U S"),
        ([["O"]], [["B-"]], "'B-' is no tag"),
        ([[3]], [["O"]], "3 is no tag"),
        (
            [["O"], ["O", "O"]],
            [["O"], ["O"]],
            "text 1 has 2 predicted and 1 gold tags; give one for each word",
        ),
        ([["O"]], [["O"], ["O"]], "1 predicted texts and 2 gold texts"),
        ([], [], "no predicted texts to judge"),
    ],
)
def test_bad_input_is_refused(predicted, gold, said):
    with pytest.raises(InputError, match=said):
        entity_scores(predicted, gold)


def test_an_unknown_metric_is_refused():
    with pytest.raises(InputError, match="'accuracy' is unknown here; take one of f1, precision, recall"):
        entity_scores([["O"]], [["O"]], "accuracy")
