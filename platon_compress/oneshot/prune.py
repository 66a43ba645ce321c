"""The whole model: block after block, in each the layers in the order in which they run, on compressed inputs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from platon_compress.errors import InputError
from platon_compress.oneshot.config import OneShotConfig
from platon_compress.oneshot.methods import METHODS
from platon_compress.oneshot.moments import Moments, valid_rows
from platon_compress.oneshot.replay import record
from platon_compress.progress import Progress, Steps
from platon_compress.selection import select
from platon_compress.structure import find_blocks, unwrap_model

__all__ = ["OneShotResult", "PrunedLayer", "prune_once"]


@dataclass(frozen=True, kw_only=True)
class PrunedLayer:
    """One layer, pruned.

    error: mean square of what its output lost on the calibration data, relative to that of the output; where the bias
    took the mean, both around their means.
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
    masks = [batch.get("attention_mask") for batch in batches]
    layers: list[PrunedLayer] = []
    steps, tokens = Steps(len(paths), progress), 0
    for index, path in enumerate(paths):
        for group in replay.linears(index):
            moments = Moments.empty(group[0].in_features)
            for x, mask in zip(replay.inputs(index, group[0]), masks, strict=True):
                moments.add(valid_rows(x, None if mask is None else torch.as_tensor(mask)))
            layers += [_prune_layer(layer, names[id(layer.weight)], moments, config) for layer in group]
            tokens = max(tokens, moments.count)
        replay.advance(index)
        steps.advance(path)
    if idle := set(names.values()) - {layer.name for layer in layers}:
        raise InputError(
            f"{min(idle)} does nothing on the calibration data, so nothing says which of its weights matter; prune this "
            "model with a recipe (`run`)"
        )
    examples = sum(len(next(iter(batch.values()))) for batch in batches)
    return OneShotResult(layers=tuple(layers), examples=examples, tokens=tokens)


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
