"""Batches of texts of nearly one length, in random order: what is padded is computed for nothing."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler

__all__ = ["LengthSampler", "padded_share"]

_POOL = 50
"""Batches whose rows are sorted together, as transformers' LengthGroupedSampler has it: rows meet others in every epoch."""


def padded_share(lengths: Sequence[int], batch_size: int) -> float:
    """Of the tokens that batches of random rows compute, the share that is padding."""
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    batches = torch.tensor(lengths)[order].split(batch_size)
    computed = sum(len(batch) * int(batch.max()) for batch in batches)
    return 1 - sum(lengths) / computed


class LengthSampler(Sampler[int]):
    """Places of all rows in an order whose every `batch_size` have nearly one length, by `seed` and the epoch.

    Unlike transformers' sampler it shuffles the batches: long ones come at any time, and none of the pruner's smoothed
    scores is of short texts alone.

    epoch: gives the number of the epoch that begins, so that a resumed training meets the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch_size = torch.tensor(lengths), batch_size
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        order = torch.randperm(len(self), generator=generator)
        whole = len(self) // self._batch_size * self._batch_size
        pools = order[:whole].split(_POOL * self._batch_size)
        rows = torch.cat([pool[self._lengths[pool].argsort(stable=True)] for pool in (*pools, order[:0])])
        batches = rows.reshape(-1, self._batch_size)
        shuffled = batches[torch.randperm(len(batches), generator=generator)]
        # What fills no batch comes last: before, it would move all later rows into other batches.
        yield from (*shuffled.flatten().tolist(), *order[whole:].tolist())
