"""Batches of texts of nearly one length, in random order: what is padded is computed for nothing."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

__all__ = ["LengthSampler", "padded_share"]

_POOL = 50
"""Batches whose rows are sorted together; transformers' own choice for long data sorts nothing in short data."""


def padded_share(lengths: Sequence[int], batch_size: int) -> float:
    """Of the tokens that batches of random rows compute, the share that is padding."""
    order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(0))
    batches = torch.tensor(lengths)[order].split(batch_size)
    computed = sum(len(batch) * int(batch.max()) for batch in batches)
    return 1 - sum(lengths) / computed


class LengthSampler(Sampler[int]):
    """Places of all rows in an order whose every `batch_size` have nearly one length, by `seed` and the epoch.

    Unlike transformers' own sampler it shuffles the batches: long ones come at any time, and none of the pruner's smoothed
    scores is of short texts alone.

    epoch: gives the number of the epoch that begins, so that a resumed training meets the same batches.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        self._lengths, self._batch_size = lengths, batch_size
        self._seed, self._epoch = seed, epoch

    def __len__(self) -> int:
        return len(self._lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        rows = get_length_grouped_indices(self._lengths, self._batch_size, _POOL, generator)
        # What fills no batch stays last: before, it would move all later rows into other batches.
        whole = len(rows) // self._batch_size * self._batch_size
        batches = torch.tensor(rows[:whole]).reshape(-1, self._batch_size)
        shuffled = batches[torch.randperm(len(batches), generator=generator)]
        yield from (*shuffled.flatten().tolist(), *rows[whole:])
