"""What a linear layer's inputs look like: their mean and their second moments, summed over the calibration tokens."""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Moments", "valid_rows"]


def valid_rows(x: Tensor, mask: Tensor | None) -> Tensor:
    """The rows [n, features] of a layer's input that are no padding.

    mask: [batch, tokens], 0 where there is padding; an input that is not laid out by it counts whole.
    """
    if mask is not None and x.shape[:-1] == mask.shape:
        return x[mask.bool()]
    return x.reshape(-1, x.shape[-1])


@dataclass
class Moments:
    """Sums over the rows x of a layer's input: x x^T [in, in] and x [in], in float64, and the number of rows."""

    products: Tensor
    sums: Tensor
    count: int = 0

    @classmethod
    def empty(cls, features: int) -> "Moments":
        """No rows yet."""
        return cls(
            torch.zeros(features, features, dtype=torch.float64), torch.zeros(features, dtype=torch.float64)
        )

    def add(self, rows: Tensor) -> None:
        """Take in rows [n, in]. Their product is taken in float32, which one batch does not strain."""
        rows = rows.detach().float()
        self.products += (rows.T @ rows).cpu().double()
        self.sums += rows.sum(0).cpu().double()
        self.count += len(rows)

    @property
    def mean(self) -> Tensor:
        """[in]"""
        return self.sums / self.count

    def second(self, *, centred: bool) -> Tensor:
        """Mean of x x^T [in, in]; centred: of (x - mean)(x - mean)^T, for a layer whose bias takes the rest."""
        second = self.products / self.count
        return second - torch.outer(self.mean, self.mean) if centred else second
