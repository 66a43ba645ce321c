"""The whole model: block after block, in each the layers in the order in which they run, on compressed inputs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress.errors import InputError, shown
from platon_compress.oneshot.methods import METHODS
from platon_compress.oneshot.moments import Moments, valid_rows
from platon_compress.oneshot.replay import Replay, record
from platon_compress.progress import Progress, Steps
from platon_compress.selection import select
from platon_compress.structure import find_blocks, unwrap_model

__all__ = ["OneShotConfig", "OneShotResult", "PrunedLayer", "prune_once"]


@dataclass(frozen=True, kw_only=True)
class OneShotConfig:
    """sparsity: share of the weights of every layer that become zeros. method: one of :data:`METHODS`."""

    sparsity: float
    method: str = "sparsegpt"

    def __post_init__(self) -> None:
        if not isinstance(self.sparsity, int | float) or not 0 < self.sparsity < 1:
            raise InputError(
                f"sparsity must be above 0 and below 1, got {shown(self.sparsity)}; 0.5 keeps every second weight"
            )
        if self.method not in METHODS:
            raise InputError(
                f"method must be one of {', '.join(METHODS)}, got {shown(self.method)}; take sparsegpt"
            )


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """error: mean square of what its output lost, relative to the mean square of the output, on the calibration data."""

    name: str
    shape: tuple[int, int]
    nnz: int
    error: float


@dataclass(frozen=True, kw_only=True)
class OneShotResult:
    """layers: in the order in which they were pruned. tokens: rows of calibration data, without padding."""

    layers: tuple[PrunedLayer, ...]
    examples: int
    tokens: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "examples": self.examples,
            "tokens": self.tokens,
            "layers": [{**vars(layer), "shape": list(layer.shape)} for layer in self.layers],
        }


@torch.no_grad()
def prune_once(
    model: nn.Module,
    batches: Sequence[Mapping[str, Any]],
    config: OneShotConfig,
    *,
    progress: Progress | None = None,
) -> OneShotResult:
    """Prune the linear layers of the model's blocks in place, without training; the model is left in eval mode.

    batches: inputs of the model by name, each [batch, ...] with padding; a few hundred real examples.
    Raises InputError for no batches, inputs that are not finite, and models whose blocks cannot be run one by one.
    """
    if not batches:
        raise InputError(
            "pruning without training needs calibration data; give a few hundred texts or pictures"
        )
    root = unwrap_model(model).eval()
    paths = find_blocks(root)
    names = {id(parameter): name for name, parameter in select(root).items()}
    replay = record(root, paths, batches)
    masks = [_mask(batch) for batch in batches]
    layers: list[PrunedLayer] = []
    steps, tokens = Steps(len(paths), progress), 0
    for index, path in enumerate(paths):
        for group in _groups(replay, index):
            moments = _moments(replay, index, group[0], masks)
            tokens = max(tokens, moments.count)
            layers += [
                _prune_layer(layer, names[id(layer.weight)], moments, config)
                for layer in group
                if id(layer.weight) in names
            ]
        replay.advance(index)
        steps.advance(path)
    return OneShotResult(layers=tuple(layers), examples=sum(map(_size, batches)), tokens=tokens)


class _Enough(Exception):  # noqa: N818 - no error: the layers behind need not run
    """The input that was asked for has been seen."""


def _groups(replay: Replay, index: int) -> list[list[nn.Linear]]:
    """The linear layers of a block in the order in which they run; those with one input are together.

    A layer that runs more than once (DeBERTa's projections, for tokens and for positions) counts by its first input.
    """
    found: list[tuple[Tensor, list[nn.Linear]]] = []

    def hook(layer: nn.Linear, arguments: tuple[Any, ...]) -> None:
        if any(layer in group for _, group in found):
            return
        for taken, group in found:
            if taken is arguments[0]:
                group.append(layer)
                return
        found.append((arguments[0], [layer]))

    with _hooked(replay.blocks[index], hook):
        next(replay.run(index))
    return [group for _, group in found]


def _moments(replay: Replay, index: int, layer: nn.Linear, masks: Sequence[Tensor | None]) -> Moments:
    """Of the input of `layer`, whose block runs only so far."""
    moments = Moments.empty(layer.in_features)
    block, hidden = replay.blocks[index], replay.hidden
    for number, mask in enumerate(masks):

        def hook(module: nn.Linear, arguments: tuple[Any, ...], mask: Tensor | None = mask) -> None:
            if module is layer:
                moments.add(valid_rows(arguments[0], mask))
                raise _Enough

        with _hooked(block, hook):
            try:
                replay.calls[number][index].run(block, hidden[number])
            except _Enough:
                continue
    return moments


def _prune_layer(layer: nn.Linear, name: str, moments: Moments, config: OneShotConfig) -> PrunedLayer:
    before = layer.weight.detach().cpu().double()
    repaired = config.method == "sparsegpt" and layer.bias is not None
    after = METHODS[config.method](before, moments, config.sparsity, repaired)
    lost = before - after
    if repaired:
        layer.bias.add_((lost @ moments.mean).to(layer.bias))
    layer.weight.copy_(after)
    second = moments.second(centred=repaired)
    error = float(((lost @ second) * lost).sum() / ((before @ second) * before).sum().clamp(min=1e-30))
    if not math.isfinite(error):
        raise InputError(f"the inputs of {name} are not finite on the calibration data; give other data")
    return PrunedLayer(
        name=name,
        shape=(layer.out_features, layer.in_features),
        nnz=int(torch.count_nonzero(layer.weight)),
        error=error,
    )


@contextmanager
def _hooked(block: nn.Module, hook: Any) -> Iterator[None]:
    handles = [m.register_forward_pre_hook(hook) for m in block.modules() if isinstance(m, nn.Linear)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _mask(batch: Mapping[str, Any]) -> Tensor | None:
    mask = batch.get("attention_mask")
    return None if mask is None else torch.as_tensor(mask)


def _size(batch: Mapping[str, Any]) -> int:
    return len(next(iter(batch.values())))
