"""The losses of a bi-encoder against naive ones, in float64."""

import numpy as np
import pytest
import torch

from platon_compress.tasks.embedding_losses import imitation_loss, pair_loss, positive_loss


@pytest.fixture
def vectors():
    return np.random.default_rng(0).normal(size=(3, 6, 4)).astype(np.float32)


def _cosine(first, second):
    return first @ second / np.linalg.norm(first) / np.linalg.norm(second)


def test_imitation_is_the_relative_squared_distance(vectors):
    ours, theirs = vectors[:2]
    wanted = np.mean([np.sum((o - t) ** 2) / np.sum(t**2) / 2 for o, t in zip(ours, theirs, strict=True)])
    assert imitation_loss(torch.tensor(ours), torch.tensor(theirs)).item() == pytest.approx(wanted, rel=1e-6)


def test_imitation_of_unit_vectors_is_one_less_the_cosine(vectors):
    ours, theirs = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors[:2])
    wanted = np.mean([1 - o @ t for o, t in zip(ours, theirs, strict=True)])
    assert imitation_loss(torch.tensor(ours), torch.tensor(theirs)).item() == pytest.approx(wanted, rel=1e-6)
    assert imitation_loss(torch.tensor(theirs), torch.tensor(theirs)).item() == pytest.approx(0, abs=1e-9)


def test_pairs_of_the_wrong_order_cost(vectors):
    first, second = vectors[:2]
    scores = [5.0, 0.0, 2.5, 2.5, 1.0, 4.0]
    cosines = [_cosine(a, b) for a, b in zip(first, second, strict=True)]
    wanted = np.log(
        1
        + sum(
            np.exp(20 * (cosines[i] - cosines[j]))
            for i in range(6)
            for j in range(6)
            if scores[i] < scores[j]
        )
    )
    found = pair_loss(torch.tensor(first), torch.tensor(second), torch.tensor(scores))
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    scaled = pair_loss(torch.tensor(first), torch.tensor(second), torch.tensor(scores) / 5)
    assert scaled.item() == pytest.approx(found.item())


def test_pairs_that_are_all_alike_cost_nothing(vectors):
    first, second = map(torch.tensor, vectors[:2])
    first.requires_grad_()
    loss = pair_loss(first, second, torch.full((6,), 3.0))
    loss.backward()
    assert loss.item() == 0


@pytest.mark.parametrize("columns", [2, 3])
def test_the_positive_is_found_among_all_candidates(vectors, columns):
    anchors, candidates = vectors[0], np.concatenate(vectors[1:columns])
    excluded = np.zeros((6, len(candidates)), dtype=bool)
    excluded[2, 4] = excluded[0, 5] = True
    each = []
    for row, anchor in enumerate(anchors):
        weights = [
            0 if excluded[row, place] else np.exp(20 * _cosine(anchor, candidate))
            for place, candidate in enumerate(candidates)
        ]
        each.append(-np.log(weights[row] / sum(weights)))
    found = positive_loss(*map(torch.tensor, (anchors, candidates, excluded)))
    assert found.item() == pytest.approx(np.mean(each), rel=1e-5)


def test_the_losses_are_those_of_sentence_transformers(vectors):
    losses = pytest.importorskip("sentence_transformers.sentence_transformer.losses")
    first, second = map(torch.tensor, vectors[:2])
    scores = torch.tensor([5.0, 0.0, 2.5, 2.5, 1.0, 4.0])
    cosent = losses.CoSENTLoss(model=None)
    theirs = cosent.compute_loss_from_embeddings([first, second], scores)
    assert pair_loss(first, second, scores).item() == pytest.approx(theirs.item(), rel=1e-5)
    ranking = losses.MultipleNegativesRankingLoss(model=None)
    theirs = ranking.compute_loss_from_embeddings([first, second], None)
    none = torch.zeros(6, 6, dtype=torch.bool)
    assert positive_loss(first, second, none).item() == pytest.approx(theirs.item(), rel=1e-5)
