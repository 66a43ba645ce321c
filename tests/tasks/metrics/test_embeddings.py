"""Embeddings beside the dense model's."""

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.tasks.metrics.embeddings import cosines, fidelity, trivial_fidelity


@pytest.fixture
def dense():
    return np.random.default_rng(0).normal(size=(50, 8)) + 0.5


def test_the_same_directions_are_all_faithful(dense):
    scores = fidelity(3 * dense.astype(np.float32), dense)
    assert scores.values == pytest.approx({"fidelity": 1, "similarity_spearman": 1})
    assert scores.replicates == pytest.approx(1)
    assert (scores.unit, scores.units) == ("text", 50)


def test_a_turned_space_is_unfaithful_but_says_the_same_of_pairs(dense):
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))[0]
    scores = fidelity(dense @ turn, dense)
    assert scores.value < 0.9
    assert scores.values["similarity_spearman"] == pytest.approx(1)


def test_noise_costs_fidelity(dense):
    noise = np.random.default_rng(2).normal(size=dense.shape)
    little, much = fidelity(dense + 0.1 * noise, dense), fidelity(dense + noise, dense)
    each = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(dense + noise, dense, strict=True)]
    assert much.value == pytest.approx(np.mean(each))
    assert much.value < little.value < 1
    assert much.values["similarity_spearman"] < little.values["similarity_spearman"] < 1
    assert much.minus(little).high < 0


def test_no_constant_embedding_is_nearer_than_the_trivial_one(dense):
    units = dense / np.linalg.norm(dense, axis=1, keepdims=True)
    best = fidelity(np.broadcast_to(units.mean(axis=0), dense.shape), dense)
    other = fidelity(np.broadcast_to(units[0], dense.shape), dense)
    assert trivial_fidelity(dense) == pytest.approx(best.value)
    assert other.value < best.value
    assert best.values["similarity_spearman"] == pytest.approx(0, abs=0.1)


def test_zeros_have_no_direction():
    assert cosines(np.array([[0.0, 0.0], [1.0, 1.0]]), np.array([[1.0, 0.0], [2.0, 0.0]])) == pytest.approx(
        [0, np.sqrt(0.5)]
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (np.ones((2, 3)), np.ones((2, 4)), "embeddings have 3 numbers, the dense model's 4; compare"),
        (np.ones((2, 3)), np.ones((3, 3)), "2 embeddings and 3 dense embeddings"),
        (np.full((2, 3), np.nan), np.ones((2, 3)), "6 of the 6 embeddings are NaN"),
        (np.ones((1, 3)), np.ones((1, 3)), "one text, and two models are compared on pairs"),
        (np.ones((0, 3)), np.ones((0, 3)), "no embeddings to judge"),
    ],
)
def test_bad_input_is_refused(ours, theirs, said):
    with pytest.raises(InputError, match=said):
        fidelity(ours, theirs)
