"""Runs a model's blocks one at a time, each on what the block before it gives now.

The model runs once per batch and is watched: with which arguments each block is called, and that a block's input is
what the one before it gave. Then blocks run alone, with those arguments and other hidden states.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress.errors import InputError

__all__ = ["Replay", "record"]

_HIDDEN = "hidden_states"
_CURE = "prune this model with a recipe (`run`)"


class _Enough(Exception):  # noqa: N818 - no error: what is behind need not run
    """The input that was asked for has been seen."""


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

    def copied(self) -> "Replay":
        """The same with blocks of its own."""
        return Replay(copy.deepcopy(list(self.blocks)), self.calls, list(self.hidden))

    def twin(self, other: "Replay", index: int, module: nn.Module) -> nn.Module:
        """The module of this replay's block that is `module` in the other's."""
        name = next(name for name, each in other.blocks[index].named_modules() if each is module)
        return self.blocks[index].get_submodule(name)

    def linears(self, index: int) -> list[list[nn.Linear]]:
        """The linear layers of block `index`, which is next, in the order in which they run; those of one input together.

        A layer that runs more than once (DeBERTa's projections, for tokens and for positions) counts by its first input.
        """
        found: list[tuple[Tensor, list[nn.Linear]]] = []

        def note(layer: nn.Module, arguments: tuple[Any, ...]) -> None:
            if any(layer in group for _, group in found):
                return
            group = next((group for taken, group in found if taken is arguments[0]), None)
            if group is None:
                found.append((arguments[0], group := []))
            group.append(layer)  # type: ignore[arg-type]  # only linear layers are watched

        with ExitStack() as watched:
            for module in self.blocks[index].modules():
                if isinstance(module, nn.Linear):
                    watched.enter_context(module.register_forward_pre_hook(note))
            next(self._outputs(index))
        return [group for _, group in found]

    def inputs(self, index: int, layer: nn.Module) -> Iterator[Tensor]:
        """What `layer` of block `index`, which is next, is given first on each batch; the block runs only so far."""
        seen: list[Tensor] = []

        def stop(module: nn.Module, arguments: tuple[Any, ...]) -> None:
            seen.append(arguments[0])
            raise _Enough

        for calls, hidden in zip(self.calls, self.hidden, strict=True):
            with layer.register_forward_pre_hook(stop):
                try:
                    calls[index].run(self.blocks[index], hidden)
                except _Enough:
                    yield seen.pop()

    def advance(self, index: int) -> None:
        """Go on to the block behind `index`."""
        self.hidden = list(self._outputs(index))

    def _outputs(self, index: int) -> Iterator[Tensor]:
        for calls, hidden in zip(self.calls, self.hidden, strict=True):
            yield calls[index].run(self.blocks[index], hidden)


def record(model: nn.Module, paths: Sequence[str], batches: Sequence[Mapping[str, Any]]) -> Replay:
    """Watch `model` (in eval mode) on `batches` of its inputs.

    Raises InputError for a model whose blocks do not follow each other directly, and where it computes NaN or infinity.
    """
    blocks = [model.get_submodule(path) for path in paths]
    calls, hidden = [], []
    device = next(model.parameters()).device
    for batch in batches:
        with _watched(blocks) as seen:
            model(**{name: torch.as_tensor(value).to(device) for name, value in batch.items()})
        if not torch.isfinite(seen[0].taken).all():
            raise InputError(
                "the inputs of the first block are not finite on the calibration data; check the model"
            )
        _check_chain(paths, seen)
        calls.append([visit.call for visit in seen])
        hidden.append(seen[0].taken)
    return Replay(blocks, calls, hidden)


@dataclass
class _Visit:
    """One call of a block while the whole model runs: its number, how, on what hidden states, and what it gave."""

    block: int
    call: _Call
    taken: Tensor
    given: Tensor = field(default_factory=lambda: torch.empty(0))


@contextmanager
def _watched(blocks: Sequence[nn.Module]) -> Iterator[list[_Visit]]:
    """Every call of a block, as it happens."""
    seen: list[_Visit] = []

    def before(number: int) -> Any:
        def hook(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
            hidden = named.get(_HIDDEN, arguments[0] if arguments else None)
            if not isinstance(hidden, Tensor):
                raise InputError(
                    f"a {type(module).__name__} is not given its hidden states first, so it cannot be pruned without "
                    f"training; {_CURE}"
                )
            # Not kept twice: `run` puts hidden states in their place.
            inside = _HIDDEN in named
            arguments, named = (
                (arguments, {**named, _HIDDEN: None}) if inside else ((None, *arguments[1:]), named)
            )
            seen.append(_Visit(number, _Call(arguments, named), hidden))

        return hook

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        seen[-1].given = _first(output)

    with ExitStack() as hooks:
        for number, block in enumerate(blocks):
            hooks.enter_context(block.register_forward_pre_hook(before(number), with_kwargs=True))
            hooks.enter_context(block.register_forward_hook(after))
        yield seen


def _check_chain(paths: Sequence[str], seen: Sequence[_Visit]) -> None:
    if [visit.block for visit in seen] != list(range(len(paths))):
        raise InputError(
            f"the blocks of this model ({paths[0]} ...) are not run once each in their order, so it cannot be pruned "
            f"without training; {_CURE}"
        )
    for path, one, following in zip(paths[1:], seen, seen[1:], strict=False):
        if not _same(one.given, following.taken):
            raise InputError(
                f"something is computed between {path} and the block before it, so this model cannot be pruned without "
                f"training; {_CURE}"
            )


def _same(one: Tensor, other: Tensor) -> bool:
    return one is other or (one.shape == other.shape and torch.equal(one, other))


def _first(output: Any) -> Tensor:
    """The hidden states among what a block gives."""
    return output if isinstance(output, Tensor) else output[0]
