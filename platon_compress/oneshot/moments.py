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
    """Sums over the rows x of a layer's input and z of what it is in the model as it was given, in float64.

    products: x x^T [in, in]; crossed: z x^T [in, in]; sums: x [in]; given: z [in]. count: number of rows.
    """

    products: Tensor
    crossed: Tensor
    sums: Tensor
    given: Tensor
    count: int = 0

    @classmethod
    def empty(cls, features: int) -> "Moments":
        """No rows yet."""
        square, row = (
            torch.zeros(*shape, dtype=torch.float64) for shape in ((features, features), (features,))
        )
        return cls(products=square, crossed=square.clone(), sums=row, given=row.clone())

    def add(self, rows: Tensor, given: Tensor | None = None) -> None:
        """Take in rows x and z, each [n, in]; z is x where it is None. Products are taken in float32, batch by batch."""
        rows = rows.detach().float()
        products = (rows.T @ rows).cpu().double()
        self.products += products
        self.sums += rows.sum(0).cpu().double()
        self.count += len(rows)
        given = rows if given is None else given.detach().float()
        self.crossed += products if given is rows else (given.T @ rows).cpu().double()
        self.given += given.sum(0).cpu().double()

    @property
    def mean(self) -> Tensor:
        """Of x, [in]"""
        return self.sums / self.count

    @property
    def given_mean(self) -> Tensor:
        """Of z, [in]"""
        return self.given / self.count

    def second(self, *, centred: bool) -> Tensor:
        """Mean of x x^T [in, in]; centred: of (x - mean)(x - mean)^T, for a layer whose bias takes the rest."""
        second = self.products / self.count
        return second - torch.outer(self.mean, self.mean) if centred else second

    def drift(self, *, centred: bool) -> Tensor:
        """Mean of (z - x) x^T [in, in]; centred: of both around their means."""
        drift = (self.crossed - self.products) / self.count
        return drift - torch.outer(self.given_mean - self.mean, self.mean) if centred else drift
