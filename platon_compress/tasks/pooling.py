"""The poolings of sentence-transformers in torch, for training; `platon_compress.runtime.embed` has them in numpy.

Each takes vectors [batch, tokens, width] and a mask [batch, tokens], and gives [batch, width].
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from platon_compress.runtime.modules import SentenceModules

__all__ = ["TORCH_POOLINGS", "sentence_vectors"]

_TINY = 1e-9


def sentence_vectors(vectors: Tensor, mask: Tensor, modules: "SentenceModules") -> Tensor:
    """[batch, poolings * width], of length 1 where the modules say so."""
    pooled = torch.cat(
        [TORCH_POOLINGS[name](vectors.float(), mask.bool()) for name in modules.pooling], dim=-1
    )
    return torch.nn.functional.normalize(pooled, dim=-1) if modules.normalize else pooled


def _first(vectors: Tensor, mask: Tensor) -> Tensor:
    return vectors[torch.arange(len(vectors)), mask.int().argmax(dim=1)]


def _last(vectors: Tensor, mask: Tensor) -> Tensor:
    return vectors[torch.arange(len(vectors)), mask.shape[1] - 1 - mask.flip(1).int().argmax(dim=1)]


def _maximum(vectors: Tensor, mask: Tensor) -> Tensor:
    return vectors.masked_fill(~mask[..., None], -torch.inf).amax(dim=1)


def _mean(vectors: Tensor, mask: Tensor) -> Tensor:
    return _sum(vectors, mask) / _count(mask.float())


def _mean_by_root(vectors: Tensor, mask: Tensor) -> Tensor:
    return _sum(vectors, mask) / _count(mask.float()).sqrt()


def _weighted(vectors: Tensor, mask: Tensor) -> Tensor:
    """Later tokens weigh more: 1, 2, 3, ..."""
    weights = mask * torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=vectors.dtype)
    return _sum(vectors, weights) / _count(weights)


def _sum(vectors: Tensor, weights: Tensor) -> Tensor:
    return (vectors * weights[..., None]).sum(dim=1)


def _count(weights: Tensor) -> Tensor:
    return weights.sum(dim=1, keepdim=True).clamp(min=_TINY)


TORCH_POOLINGS: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cls": _first,
    "max": _maximum,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted,
    "lasttoken": _last,
}
"""The names of `POOLINGS`, and the same vectors."""
