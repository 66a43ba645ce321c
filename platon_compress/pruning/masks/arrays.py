"""Flat chunks of tensors, and the buffers that are reused for every one of them."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

__all__ = ["CHUNK", "Scratch", "chunks", "count_true", "drop_first", "flat", "local", "on_host"]

# 2^20 elements: a temporary stays near the cache, and 3 buffers are 12 MB however large the model is.
CHUNK = 1 << 20


class Scratch:
    """Named buffers, allocated once.

    A fresh tensor of some megabytes costs several times the arithmetic on it, in page faults.
    """

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, torch.device], Tensor] = {}

    def get(self, slot: str, like: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """A flat buffer with as many elements as `like`, on its device; its old contents are whatever."""
        return self.room(slot, like.numel(), like.device, dtype)

    def room(self, slot: str, size: int, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
        """A flat buffer of `size` elements."""
        key = (slot, device)
        if key not in self._buffers or self._buffers[key].numel() < size:
            self._buffers[key] = torch.empty(size, dtype=dtype, device=device)
        return self._buffers[key][:size]

    def held_bytes(self) -> int:
        """Size of all buffers."""
        return sum(buffer.numel() * buffer.element_size() for buffer in self._buffers.values())


def local(tensor: Tensor) -> Tensor:
    """The part of a sharded tensor (DTensor) that lies here, as a view; any other tensor as it is."""
    part: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return part.detach()


def flat(tensor: Tensor) -> Tensor:
    """The elements that lie here in row-major order, as a view where the memory layout allows one."""
    return local(tensor).reshape(-1)


def chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Aligned pieces of at most CHUNK elements of flat tensors of equal size."""
    if tensors[0].numel() <= CHUNK:
        yield tensors
        return
    yield from zip(*(tensor.split(CHUNK) for tensor in tensors), strict=True)


def on_host(device: torch.device) -> bool:
    """Whether reading a number back costs nothing; elsewhere it waits for the device, so numbers stay there."""
    return device.type == "cpu"


def count_true(mask: Tensor) -> Tensor | int:
    """How many elements of a bool tensor are True; off the CPU it stays on the device, unsynchronised.

    torch.count_nonzero branches on every element, which costs 3 to 6 ns each on a random mask.
    """
    if on_host(mask.device):
        return int(np.count_nonzero(mask.numpy()))
    return torch.count_nonzero(mask)


def drop_first(kept: Tensor, tied: Tensor, left: Tensor) -> None:
    """Clears `kept` at the first `left` places where `tied` is True, and takes their number off `left`.

    `left` is an int64 scalar on the device; nothing is read back.
    """
    order = tied.cumsum(0, dtype=torch.int32)
    kept.logical_and_(tied.logical_not().logical_or_(order > left))
    left.sub_(order[-1:].sum())
