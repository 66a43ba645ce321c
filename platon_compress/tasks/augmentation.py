"""Pictures are shown differently at every step of a training, and nowhere else: shifted, and mirrored.

What happens to a picture depends on the seed, the step, the process and its place in the batch alone, so that a training
that was killed goes on with the same pictures, and the dense and the pruned training see the same ones.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from platon_compress.recipe.training import Augmentation

__all__ = ["Augmenter", "shifted"]

# Of the height and the width, to each side: the usual 4 pixels of CIFAR's 32.
_SHIFT = 8


class Augmenter:
    """kinds: what is done, `flip` and `crop`. process: of a training on several devices, each has other pictures."""

    def __init__(self, kinds: "Sequence[Augmentation]", seed: int, process: int = 0) -> None:
        self._kinds, self._seed, self._process = frozenset(kinds), seed, process
        self._step, self._batches = -1, 0

    def __call__(self, inputs: Mapping[str, Any], step: int) -> dict[str, Any]:
        """The next batch of optimiser step `step`, its `pixel_values` [batch, channels, height, width] as they are shown."""
        self._batches = self._batches + 1 if step == self._step else 0
        self._step = step
        pixels = inputs["pixel_values"]
        rng = np.random.default_rng([self._seed, step, self._batches, self._process])
        # Both are always drawn, so that a kind that is left out does not change the other.
        flips = rng.random(len(pixels)) < 0.5
        reach = np.array(pixels.shape[-2:]) // _SHIFT
        shifts = rng.integers(-reach, reach + 1, (len(pixels), 2))
        flips &= "flip" in self._kinds
        shifts *= "crop" in self._kinds
        return {**inputs, "pixel_values": shifted(pixels, torch.from_numpy(shifts), torch.from_numpy(flips))}


def shifted(pixels: Tensor, shifts: Tensor, flips: Tensor) -> Tensor:
    """Pictures [n, channels, height, width], each moved up and left by `shifts` [n, 2], then mirrored where `flips` [n].

    What comes in at a border is the picture mirrored there: a crop of the padded picture. A shift must be below the size.
    """
    number, channels, height, width = pixels.shape
    rows = _mirrored(torch.arange(height) + shifts[:, :1], height)
    columns = torch.arange(width).expand(number, width)
    columns = _mirrored(torch.where(flips[:, None], width - 1 - columns, columns) + shifts[:, 1:], width)
    places = (
        torch.arange(number)[:, None, None, None],
        torch.arange(channels)[None, :, None, None],
        rows[:, None, :, None],
        columns[:, None, None, :],
    )
    return pixels[tuple(place.to(pixels.device) for place in places)]


def _mirrored(places: Tensor, size: int) -> Tensor:
    """Places beyond 0 .. size - 1, by less than `size`, brought back by reflection; the outermost is not doubled."""
    return (size - 1) - ((size - 1) - places.abs()).abs()
