"""The poolings in torch are those in numpy, which are compared with sentence-transformers' own."""

import numpy as np
import pytest
import torch

from platon_compress.runtime.embed import POOLINGS, pooled
from platon_compress.runtime.modules import SentenceModules
from platon_compress.tasks.pooling import TORCH_POOLINGS, sentence_vectors

MASKS = {
    "right": [[1, 1, 1, 0], [1, 0, 0, 0], [1, 1, 1, 1]],
    "left": [[0, 1, 1, 1], [0, 0, 0, 1], [1, 1, 1, 1]],
}


def test_every_pooling_is_there():
    assert TORCH_POOLINGS.keys() == POOLINGS.keys()


@pytest.mark.parametrize("side", MASKS)
@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("names", [*((name,) for name in POOLINGS), ("cls", "mean")])
def test_they_give_the_same_vectors(names, normalize, side):
    vectors = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    mask = np.array(MASKS[side])
    modules = SentenceModules(pooling=names, normalize=normalize)
    found = sentence_vectors(torch.from_numpy(vectors), torch.from_numpy(mask), modules)
    assert found.shape == (3, 5 * len(names))
    assert found.numpy() == pytest.approx(pooled(vectors, mask.astype(bool), modules), abs=1e-6)


@pytest.mark.parametrize("name", POOLINGS)
def test_padding_gets_no_gradient(name):
    vectors = torch.randn(3, 4, 5, requires_grad=True)
    mask = torch.tensor(MASKS["right"])
    sentence_vectors(vectors, mask, SentenceModules(pooling=(name,))).square().sum().backward()
    assert vectors.grad is not None
    assert not vectors.grad[mask == 0].any()
    assert vectors.grad[mask == 1].any()
