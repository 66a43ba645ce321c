"""The whole model: block after block, in each the layers in the order in which they run, on compressed inputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.oneshot.config import OneShotConfig
from platon_compress.oneshot.methods import METHODS, caught_up
from platon_compress.oneshot.moments import Moments, valid_rows
from platon_compress.oneshot.replay import Replay, record
from platon_compress.progress import Progress, Steps
from platon_compress.selection import select
from platon_compress.structure import find_blocks, unwrap_model

__all__ = ["OneShotResult", "PrunedLayer", "prune_once"]


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """One layer, pruned.

    error: mean square of what its output lost by the zeros on the calibration data, relative to that of the output; where
    the bias took the mean, both around their means.
    """

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
    given = replay.copied() if config.method == "sparsegpt" else None
    masks = [batch.get("attention_mask") for batch in batches]
    layers: list[PrunedLayer] = []
    steps, tokens = Steps(len(paths), progress), 0
    for index, path in enumerate(paths):
        for group in replay.linears(index):
            moments = _moments(replay, given, index, group[0], masks)
            layers += [_prune_layer(layer, names[id(layer.weight)], moments, config) for layer in group]
            tokens = max(tokens, moments.count)
        for blocks in (replay, given):
            if blocks is not None:
                blocks.advance(index)
        steps.advance(path)
    if idle := set(names.values()) - {layer.name for layer in layers}:
        raise InputError(
            f"{min(idle)} does nothing on the calibration data, so nothing says which of its weights matter; prune this "
            "model with a recipe (`run`)"
        )
    examples = sum(len(next(iter(batch.values()))) for batch in batches)
    return OneShotResult(layers=tuple(layers), examples=examples, tokens=tokens)


def _moments(
    replay: Replay, given: Replay | None, index: int, layer: nn.Linear, masks: Sequence[Any]
) -> Moments:
    """Of the inputs of a layer of block `index`, beside what they are in the model as it was given."""
    moments = Moments.empty(layer.in_features)
    now = replay.inputs(index, layer)
    once = repeat(None) if given is None else given.inputs(index, given.twin(replay, index, layer))
    for x, z, mask in zip(now, once, masks, strict=False):
        valid = None if mask is None else torch.as_tensor(mask)
        moments.add(valid_rows(x, valid), None if z is None else valid_rows(z, valid))
    return moments


def _prune_layer(layer: nn.Linear, name: str, moments: Moments, config: OneShotConfig) -> PrunedLayer:
    given = layer.weight.detach().cpu().double()
    repairs = config.method == "sparsegpt"
    repaired = repairs and layer.bias is not None
    before = given + caught_up(given, moments, repaired) if repairs else given
    after = METHODS[config.method](before, moments, config.sparsity, repaired)
    if repaired:
        layer.bias.add_((given @ moments.given_mean - after @ moments.mean).to(layer.bias))
    layer.weight.copy_(after)
    lost = before - after
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
