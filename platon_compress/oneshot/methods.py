"""Which weights of one layer go, and what the others become. Sources are the papers; no code of theirs.

- magnitude: the smallest weights of the matrix go, the others stay.
- wanda (Sun et al. 2023): in every row the smallest |w| * |x| go, with the norm of the input; the others stay.
- sparsegpt (Frantar and Alistarh 2023): columns from left to right; what a removed weight did to the output is made
  good by the columns to its right, by the inverse of the inputs' second moments. Beyond the paper, a layer with a bias
  lets the bias take the mean, so that only the variation around it has to be made good, and every layer first catches up
  with what earlier ones changed in its inputs: the answers it aims at are those of the model as it was given.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.oneshot.config import Method
from platon_compress.oneshot.moments import Moments

__all__ = ["METHODS", "caught_up"]

_Method = Callable[[Tensor, Moments, float, bool], Tensor]
"""(weight float64 [out, in], moments of its input, sparsity, whether a bias takes the mean) -> new weight [out, in]."""

_BLOCK = 128  # columns that choose their zeros together
# Share of the mean second moment that is added to each: inputs that hardly vary must not become huge factors.
_DAMPING = 0.01


def _magnitude(weight: Tensor, moments: Moments, sparsity: float, has_bias: bool) -> Tensor:
    del moments, has_bias
    return weight.masked_fill(_smallest(weight.abs(), int(weight.numel() * sparsity)), 0.0)


def _wanda(weight: Tensor, moments: Moments, sparsity: float, has_bias: bool) -> Tensor:
    del has_bias
    scores = weight.abs() * moments.second(centred=False).diagonal().sqrt()
    goes = scores.argsort(dim=1, stable=True)[:, : int(weight.shape[1] * sparsity)]
    return weight.scatter(1, goes, 0.0)


def _sparsegpt(weight: Tensor, moments: Moments, sparsity: float, has_bias: bool) -> Tensor:
    factor = _inverse_factor(moments.second(centred=has_bias))
    weight, columns = weight.clone(), weight.shape[1]
    gone = 0
    for start in range(0, columns, _BLOCK):
        end = min(start + _BLOCK, columns)
        block, inner = weight[:, start:end], factor[start:end, start:end]
        due = int(weight.shape[0] * end * sparsity)
        mask = _smallest((block / inner.diagonal()) ** 2, due - gone)
        gone = due
        errors = _clear(block, mask, inner)
        weight[:, end:] -= errors @ factor[start:end, end:]
    return weight


def caught_up(weight: Tensor, moments: Moments, centred: bool) -> Tensor:
    """What to add to W [out, in], so that it answers x as W answered z, as nearly as damped least squares say.

    min |W z - (W + D) x|^2: D = W E[(z - x) x^T] E[x x^T]^-1.
    """
    drift = weight @ moments.drift(centred=centred)
    if not drift.any():
        return drift
    return torch.cholesky_solve(drift.T, _cholesky(moments.second(centred=centred))).T


METHODS: Mapping[Method, _Method] = {"sparsegpt": _sparsegpt, "wanda": _wanda, "magnitude": _magnitude}


def _clear(block: Tensor, mask: Tensor, factor: Tensor) -> Tensor:
    """Zero `mask` in `block` [out, columns] in place, column by column; returns what later columns owe [out, columns]."""
    errors = torch.zeros_like(block)
    for column in range(block.shape[1]):
        lost = torch.where(mask[:, column], block[:, column], 0.0) / factor[column, column]
        block[:, column:] -= torch.outer(lost, factor[column, column:])
        errors[:, column] = lost
    block.masked_fill_(mask, 0.0)
    return errors


def _inverse_factor(second: Tensor) -> Tensor:
    """Upper Cholesky factor of the inverse of the damped moments [in, in], float64."""
    return _factored(torch.cholesky_inverse(_cholesky(second)), upper=True)


def _cholesky(second: Tensor) -> Tensor:
    """Lower Cholesky factor of the damped moments [in, in]. Raises InputError where the inputs are not finite."""
    diagonal = second.diagonal()
    damped = second + torch.diag(torch.full_like(diagonal, max(_DAMPING * float(diagonal.mean()), 1e-12)))
    return _factored(damped, upper=False)


def _factored(matrix: Tensor, *, upper: bool) -> Tensor:
    try:
        return torch.linalg.cholesky(matrix, upper=upper)
    except torch.linalg.LinAlgError as error:
        raise InputError(
            "the inputs of a layer are not finite or all alike on the calibration data; give other texts"
        ) from error


def _smallest(scores: Tensor, count: int) -> Tensor:
    """Mask of exactly `count` smallest scores; ties go by position."""
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    if count > 0:
        mask[scores.flatten().argsort(stable=True)[:count]] = True
    return mask.view_as(scores)
