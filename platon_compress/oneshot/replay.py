"""Runs a model's blocks one at a time, each on what the block before it gives now.

The model runs once per batch and is watched: with which arguments each block is called, and that a block's input is
what the one before it gave. Then blocks run alone, with those arguments and other hidden states.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress.errors import InputError

__all__ = ["Replay", "record"]

_HIDDEN = "hidden_states"


@dataclass
class _Call:
    """How one block is called on one batch; the hidden states are put in anew every time."""

    arguments: tuple[Any, ...]
    named: Mapping[str, Any]

    def run(self, block: nn.Module, hidden: Tensor) -> Tensor:
        if _HIDDEN in self.named:
            return _first(block(*self.arguments, **{**self.named, _HIDDEN: hidden}))
        return _first(block(hidden, *self.arguments[1:], **self.named))


@dataclass
class Replay:
    """calls[batch][block], and the hidden states [batch] in front of the block that is next."""

    blocks: Sequence[nn.Module]
    calls: list[list[_Call]]
    hidden: list[Tensor]

    def run(self, index: int) -> Iterator[Tensor]:
        """What block `index` gives for each batch."""
        for calls, hidden in zip(self.calls, self.hidden, strict=True):
            yield calls[index].run(self.blocks[index], hidden)

    def advance(self, index: int) -> None:
        """Go on to the block behind `index`."""
        self.hidden = list(self.run(index))


def record(model: nn.Module, paths: Sequence[str], batches: Sequence[Mapping[str, Any]]) -> Replay:
    """Watch `model` (in eval mode) on `batches` of its inputs.

    Raises InputError for a model whose blocks do not follow each other directly.
    """
    blocks = [model.get_submodule(path) for path in paths]
    calls, hidden = [], []
    device = next(model.parameters()).device
    for batch in batches:
        with _watched(blocks) as seen:
            model(**{name: torch.as_tensor(value).to(device) for name, value in batch.items()})
        _check_chain(paths, seen)
        if not torch.isfinite(seen[0][2]).all():
            raise InputError(
                "the inputs of the first block are not finite on the calibration data; check the model"
            )
        calls.append([entry[1] for entry in seen])
        hidden.append(seen[0][2])
    return Replay(blocks, calls, hidden)


_Seen = tuple[int, _Call, Tensor, list[Tensor]]


@contextmanager
def _watched(blocks: Sequence[nn.Module]) -> Iterator[list[_Seen]]:
    """Every call of a block: its number, the call, its hidden states, and what it gave."""
    seen: list[_Seen] = []

    def before(number: int) -> Any:
        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden = named.get(_HIDDEN, arguments[0] if arguments else None)
            if not isinstance(hidden, Tensor):
                raise InputError(
                    f"a {type(module).__name__} is not given its hidden states first, so it cannot be pruned without "
                    "training; prune this model with a recipe (`run`)"
                )
            kept = {name: None if name == _HIDDEN else value for name, value in named.items()}
            call = _Call(arguments if _HIDDEN in named else (None, *arguments[1:]), kept)
            seen.append((number, call, hidden, []))

        return hook

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        seen[-1][3].append(_first(output))

    handles = []
    for number, block in enumerate(blocks):
        handles.append(block.register_forward_pre_hook(before(number), with_kwargs=True))
        handles.append(block.register_forward_hook(after))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _check_chain(paths: Sequence[str], seen: Sequence[_Seen]) -> None:
    numbers = [entry[0] for entry in seen]
    if numbers != list(range(len(paths))):
        raise InputError(
            f"the blocks of this model ({paths[0]} ...) are not run once each in their order, so it cannot be pruned "
            "without training; prune it with a recipe (`run`)"
        )
    for path, (_, _, _, given), (_, _, taken, _) in zip(paths[1:], seen, seen[1:], strict=False):
        if not _same(given[0], taken):
            raise InputError(
                f"something is computed between {path} and the block before it, so this model cannot be pruned without "
                "training; prune it with a recipe (`run`)"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num()))


def _first(output: Any) -> Tensor:
    """The hidden states among what a block gives."""
    return output if isinstance(output, Tensor) else output[0]
