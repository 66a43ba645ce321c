"""Factors for the features in front of layers with 8-bit weights, so that no single feature decides a token's range.

A row x of activations is rounded with one scale, a row of W too. W x = (W diag(s)) (x / s) for any s; with powers of two
that is exact in floats. As in SmoothQuant (Xiao et al. 2023) s = max|x|^a / max|w|^(1 - a) of each feature; a is what loses
least on examples, by the very rounding that the file's operators do.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.export.gaps import LARGEST
from platon_compress.scoring import Batch

if TYPE_CHECKING:
    import torch

__all__ = ["Factors", "best_factors", "layer_inputs", "rounded_error"]

_ROWS = 256  # of activations that a layer's factors are chosen by
_SHARES = (0.25, 0.5, 0.75)
_LEAST = 1e-4  # of the largest: features and columns below count as so large
_MOST_EXPONENT = 20


@dataclass(frozen=True, kw_only=True)
class Factors:
    """scale: powers of two [in]. before, after: relative error of the layers' outputs by rounding, without and with it."""

    scale: np.ndarray
    before: float
    after: float


def layer_inputs(
    module: "torch.nn.Module", names: Collection[str], batches: Sequence[Batch]
) -> dict[str, np.ndarray]:
    """What the linear layers with these weights read on the batches: name -> rows from all over, float32 [n, in].

    names: of weight parameters. The module must be in eval mode; padding is left out. Empty without names or batches.
    """
    if not names or not batches:
        return {}
    import torch

    found: dict[str, list[np.ndarray]] = {}
    each = -(-_ROWS // len(batches))
    mask: torch.Tensor | None = None

    def note(name: str) -> Any:
        def hook(layer: torch.nn.Module, arguments: tuple[Any, ...]) -> None:
            found.setdefault(name, []).append(_rows(arguments[0], mask, each))

        return hook

    layers = {name: module.get_submodule(name.removesuffix(".weight")) for name in names}
    hooks = [layer.register_forward_pre_hook(note(name)) for name, layer in layers.items()]
    try:
        with torch.no_grad():
            for batch in batches:
                inputs = {name: torch.as_tensor(value) for name, value in batch.items()}
                mask = inputs.get("attention_mask")
                module(**inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: np.concatenate(rows)[:_ROWS] for name, rows in found.items()}


def _rows(x: "torch.Tensor", mask: "torch.Tensor | None", count: int) -> np.ndarray:
    from platon_compress.oneshot.moments import valid_rows

    rows = valid_rows(x, mask).detach().float().cpu().numpy()
    places = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return rows[places]


def best_factors(x: np.ndarray, weight: np.ndarray) -> Factors:
    """The factors that lose least: x [n, in] as rows of activations, weight [out, in] with zeros; both finite."""
    exact = x.astype(np.float64) @ weight.T.astype(np.float64)
    one = np.ones(weight.shape[1], np.float32)
    tried = [one, *(_factors(x, weight, share) for share in _SHARES)]
    errors = [rounded_error(x, weight, scale, exact) for scale in tried]
    best = int(np.argmin(errors))
    return Factors(scale=tried[best], before=errors[0], after=errors[best])


def rounded_error(x: np.ndarray, weight: np.ndarray, scale: np.ndarray, exact: np.ndarray) -> float:
    """Length of what rounding x / scale and weight * scale changes, over that of `exact`, their product [n, out]."""
    ours = _rounded_activations(x / scale) @ _rounded_weight(weight * scale).T
    return float(np.linalg.norm(ours - exact)) / max(float(np.linalg.norm(exact)), 1e-30)


def _factors(x: np.ndarray, weight: np.ndarray, share: float) -> np.ndarray:
    """Powers of two around 1, float32 [in]."""
    exponents = share * np.log2(_largest(x)) - (1 - share) * np.log2(_largest(weight))
    exponents = np.rint(exponents - np.median(exponents))
    return np.exp2(np.clip(exponents, -_MOST_EXPONENT, _MOST_EXPONENT)).astype(np.float32)


def _largest(array: np.ndarray) -> np.ndarray:
    """Of every column, above zero, float64."""
    found = np.abs(array).max(0).astype(np.float64)
    return np.maximum(found, max(_LEAST * float(found.max()), 1e-30))


def _rounded_activations(x: np.ndarray) -> np.ndarray:
    """As docs/operator.md rounds them, in float32, as numbers again."""
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    scale = np.maximum((high - low) / np.float32(255), np.float32(1e-30))
    inverse = np.float32(1) / scale
    zero = np.rint(-low * inverse)
    return (np.clip(np.rint(x * inverse) + zero, 0, 255) - zero) * scale


def _rounded_weight(weight: np.ndarray) -> np.ndarray:
    """As `quantize_rows` rounds it, as numbers again."""
    scale = np.abs(weight).max(1, keepdims=True) / np.float32(LARGEST)
    scale[scale == 0] = 1
    return np.clip(np.rint(weight / scale), -LARGEST, LARGEST) * scale
