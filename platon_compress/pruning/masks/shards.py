"""Where the rows of sharded parameters lie, and the few numbers that the ranks exchange about them.

`torch.distributed.fsdp.fully_shard` turns a parameter into a DTensor of placement Shard(0): every rank holds a
run of its rows, in rank order; later ranks may hold fewer rows, or none. The pruner works on these local rows
and keeps its states and masks for them only. Ranks exchange counts: histograms for a threshold, ties, zeros.
Without DTensors everything here is the identity, and there is no communication.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.masks.arrays import local

__all__ = ["Shards"]


class Shards:
    """The ranks that share the rows of each weight; this process alone unless the weights are DTensors.

    Raises InputError when only some weights are sharded, or in another way than by rows over one set of ranks.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._group: Any = None
        self.device = local(next(iter(weights.values()))).device
        self.rank, self.ranks = 0, 1
        sharded = {name: weight for name, weight in weights.items() if _is_dtensor(weight)}
        if sharded:
            self._join(weights, sharded)

    @property
    def active(self) -> bool:
        """Whether the weights are DTensors."""
        return self._group is not None

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0 of the whole run."""
        return not self.active or torch.distributed.get_rank() == 0

    def add_up(self, tensor: Tensor) -> Tensor:
        """Sums a tensor over the ranks, in place."""
        if self.active:
            torch.distributed.all_reduce(tensor, group=self._group)
        return tensor

    def sums(self, counts: Sequence[int | Tensor]) -> list[int]:
        """Sums whole numbers over the ranks, all of them in one reduction."""
        return self.add_up(self._vector(counts)).tolist()

    def any_rank(self, flag: bool) -> bool:
        """Whether the flag is set on any rank."""
        return bool(self.sums([int(flag)])[0]) if self.active else flag

    def barrier(self) -> None:
        """Waits for every rank."""
        self.any_rank(False)

    def tie_quotas(self, groups: Sequence[tuple[Sequence[int | Tensor], int]]) -> list[list[int | None]]:
        """How many of its own ties with the cut each weight masks, None for all of them.

        A group is the ties of every weight that is ranked together, and how many of these go. They go by weight,
        then by position; of one weight, lower ranks hold the earlier positions. One reduction for all groups.
        """
        own = self._vector([count for ties, _ in groups for count in ties])
        table = own.new_zeros(len(own), self.ranks)
        table[:, self.rank] = own
        by_rank = iter(self.add_up(table).tolist())
        return [[self._quota(row, left) for row, left in _left(by_rank, *group)] for group in groups]

    def rows(self, weight: Tensor) -> tuple[int, int]:
        """First row of a weight that lies here, and the one after the last (torch.chunk's rule)."""
        total = weight.shape[0]
        per_rank = -(-total // self.ranks)
        return min(self.rank * per_rank, total), min((self.rank + 1) * per_rank, total)

    def boundaries(self, weight: Tensor) -> range:
        """Rows at which a later rank begins, where it holds any."""
        total = weight.shape[0]
        per_rank = max(1, -(-total // self.ranks))
        return range(per_rank, total, per_rank)

    def wrap(self, weight: Tensor, part: Tensor) -> Tensor:
        """Local rows as a DTensor laid out like `weight`, which torch.distributed.checkpoint reshards."""
        if not self.active:
            return part
        from torch.distributed.tensor import DTensor

        assert isinstance(weight, DTensor)  # noqa: S101 - all weights are, or none
        return DTensor.from_local(
            part,
            weight.device_mesh,
            weight.placements,
            run_check=False,
            shape=weight.shape,
            stride=weight.stride(),
        )

    def part(self, weight: Tensor, whole: Tensor) -> Tensor:
        """Inverse of `wrap`; also cuts the local rows out of a plain tensor of the weight's full shape."""
        if not _is_dtensor(whole):
            first, end = self.rows(weight)
            return whole[first:end] if self.active else whole
        placed: Any = whole
        if not self.active:
            return placed.full_tensor()
        target: Any = weight
        return local(placed.redistribute(target.device_mesh, target.placements))

    def whole(self, weight: Tensor, part: Tensor) -> Tensor:
        """The full tensor of which every rank gives its local rows."""
        if not self.active:
            return part.clone()
        placed: Any = self.wrap(weight, part)
        return placed.full_tensor()

    def _quota(self, by_rank: list[int], left: int) -> int | None:
        own = by_rank[self.rank]
        quota = left - sum(by_rank[: self.rank])
        return None if quota >= own else max(quota, 0)

    def _vector(self, counts: Sequence[int | Tensor]) -> Tensor:
        if not any(isinstance(count, Tensor) for count in counts):
            return torch.tensor(counts, dtype=torch.int64, device=self.device)
        return torch.stack([torch.as_tensor(count, device=self.device) for count in counts])

    def _join(self, weights: Mapping[str, Tensor], sharded: Mapping[str, Any]) -> None:
        if len(sharded) < len(weights):
            whole = next(name for name in weights if name not in sharded)
            raise InputError(
                f"{len(sharded)} of {len(weights)} parameters to prune are sharded, {whole!r} is not; call "
                "fully_shard on the whole model before the Pruner is built, and model.reshard() after an evaluation"
            )
        name, first = next(iter(sharded.items()))
        dim = _shard_dim(name, first)
        for other, weight in sharded.items():
            if weight.device_mesh != first.device_mesh or weight.placements != first.placements:
                raise InputError(
                    f"{other!r} is sharded as {weight.placements} on {weight.device_mesh}, {name!r} as "
                    f"{first.placements} on {first.device_mesh}; shard all parameters to prune alike"
                )
        self._group = first.device_mesh.get_group(dim)
        self.rank, self.ranks = first.device_mesh.get_local_rank(dim), first.device_mesh.size(dim)


def _left(
    by_rank: Iterator[list[int]], ties: Sequence[object], spare: int
) -> Iterator[tuple[list[int], int]]:
    """Each weight's ties by rank, and how many of all that go are left when its turn comes."""
    for _, row in zip(ties, by_rank, strict=False):  # in this order zip takes no row too many
        yield row, spare
        spare = max(0, spare - sum(row))


def _shard_dim(name: str, weight: Any) -> int:
    """The mesh dimension that shards the rows; every other one must replicate."""
    from torch.distributed.tensor import Replicate, Shard

    dims = [i for i, placement in enumerate(weight.placements) if placement == Shard(0)]
    copies = sum(isinstance(placement, Replicate) for placement in weight.placements)
    if len(dims) != 1 or copies + 1 != len(weight.placements):
        raise InputError(
            f"{name!r} is sharded as {weight.placements}, the pruner takes rows only: (Shard(dim=0),), with "
            "replicas beside it or not; call fully_shard without shard_placement_fn or tensor parallelism"
        )
    return dims[0]


def _is_dtensor(tensor: Tensor) -> bool:
    return hasattr(tensor, "to_local")
