"""What a bi-encoder learns from: a teacher's embeddings, scored pairs, texts that go together.

Every function is a mean over the batch (the logarithm of a sum for scored pairs), in float32.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["imitation_loss", "pair_loss", "positive_loss"]

_SCALE = 20.0  # of cosines, in both losses below, as sentence-transformers has it


def imitation_loss(ours: Tensor, theirs: Tensor) -> Tensor:
    """Half the squared distance to the teacher's embedding over its squared length, embeddings [texts, width].

    That is 1 - cosine where embeddings have length 1. Up to the factor it is the squared error of Reimers and Gurevych
    (2020, Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation), with no text counting for
    more because its embedding is longer.
    """
    ours, theirs = ours.float(), theirs.float()
    lengths = theirs.square().sum(-1).clamp(min=torch.finfo(torch.float32).tiny)
    return ((ours - theirs).square().sum(-1) / lengths / 2).mean()


def pair_loss(first: Tensor, second: Tensor, scores: Tensor) -> Tensor:
    """CoSENT (Su 2022) of embeddings [pairs, width] and scores [pairs].

        log(1 + sum over pairs i, j with score i < score j of exp(20 (cosine i - cosine j)))

    Only the order of the scores counts, so they may have any range. sentence-transformers finds it to train better than
    the squared error of the cosine (its CosineSimilarityLoss).
    """
    cosines = _SCALE * F.cosine_similarity(first.float(), second.float())
    gaps = cosines[:, None] - cosines[None, :]
    wrong = gaps[scores[:, None] < scores[None, :]]
    return torch.logsumexp(torch.cat([wrong.new_zeros(1), wrong]), dim=0)


def positive_loss(anchors: Tensor, candidates: Tensor, excluded: Tensor) -> Tensor:
    """Cross-entropy of 20 times the cosines of each anchor to every candidate (Henderson et al. 2017).

    anchors [rows, width]; candidates [k * rows, width]: the positives of all rows, then their negatives. excluded, bool
    [rows, k * rows]: candidates that are no wrong answers, because they say the same as the row's own texts.
    """
    ours, theirs = (F.normalize(vectors.float(), dim=-1) for vectors in (anchors, candidates))
    logits = (_SCALE * ours @ theirs.T).masked_fill(excluded, -torch.inf)
    return F.cross_entropy(logits, torch.arange(len(anchors), device=logits.device))
