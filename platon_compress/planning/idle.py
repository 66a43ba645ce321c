"""Clears what masks of single weights have emptied: whatever no output depends on becomes zeros, constants join biases.

Every rule holds whatever the input, up to the rounding of a sum:

1. A neuron whose incoming row is all zero is the constant act(bias). The constant times its columns joins the next
   layer's bias; row, bias and columns are zeros then. Without a next bias only where the constant is 0. Gated neurons go
   where one factor is always 0.
2. A neuron whose columns are all zero is read by nobody: row and bias become zeros.
3. A value feature whose row is all zero is its bias at every token, and so in every weighted mean of tokens: it joins the
   output's bias like a neuron's constant. One whose output columns are all zero goes like 2.
4. A query or key feature counts through the products of the two alone. It goes on both sides where the key's row is all
   zero (its bias adds the same to every score of a query, which softmax takes out again), or the query's row and bias are.
   A query row of zeros with a bias stays: it weighs the keys. Heads whose values are all gone need neither.

Rules 3 and 4 hold for attention whose weights add up to one, and whose scores are plain products: the classes below.
Zeros that fill whole units let the layers shrink (`planning.coupling`); the others are that many weights fewer in CSR.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from platon_compress.errors import MISFITS, InputError
from platon_compress.formats.attention import averages_values, multiplies_queries_and_keys
from platon_compress.planning.coupling import (
    activation_of,
    attention_of,
    is_zero_at_zero,
    mixing_refusal,
    shared_parameters,
)
from platon_compress.structure import Coupling, find_couplings

__all__ = ["Idle", "clear_idle"]

_KINDS = ("neurons", "value features", "query and key features")


@dataclass(frozen=True, kw_only=True)
class Idle:
    """What :func:`clear_idle` found.

    found: by kind of feature, how many have no effect of their own, and of how many; kinds with none are left out.
    cleared, nonzeros: weights that became zeros, of all those that were not before, in the layers looked at.
    """

    found: Mapping[str, tuple[int, int]]
    cleared: int
    nonzeros: int

    @property
    def reason(self) -> str:
        """A sentence without its full stop; empty where nothing was found."""
        if not self.found:
            return ""
        kinds = [f"{count:,} of {total:,} {kind}" for kind, (count, total) in self.found.items()]
        share = self.cleared / self.nonzeros if self.nonzeros else 0.0
        return (
            f"{' and '.join((', '.join(kinds[:-1]), kinds[-1]) if kinds[1:] else kinds)} have no effect of their own; "
            f"{self.cleared:,} more weights ({share:.1%} of those left) are removed without changing the outputs"
        )

    def to_dict(self) -> dict[str, object]:
        """JSON-able."""
        found = {kind: list(counts) for kind, counts in self.found.items()}
        return {"found": found, "cleared": self.cleared, "nonzeros": self.nonzeros, "reason": self.reason}

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> "Idle":
        """Raises InputError for a field that is missing or does not fit."""
        try:
            found = {str(kind): (int(count), int(total)) for kind, (count, total) in data["found"].items()}  # type: ignore[attr-defined]
            return cls(found=found, cleared=int(data["cleared"]), nonzeros=int(data["nonzeros"]))  # type: ignore[call-overload]
        except MISFITS as error:
            raise InputError(f"the plan's idle does not fit ({error!r:.80}); plan the model again") from error


@torch.no_grad()
def clear_idle(model: nn.Module) -> Idle:
    """Apply the rules to every feed-forward and attention block of ``model``, in place.

    Blocks that share a weight with another module, or mix their neurons by a norm, are left alone.
    """
    shared = shared_parameters(model)
    counts = {kind: [0, 0] for kind in _KINDS}
    before = after = 0
    for coupling in find_couplings(model):
        if mixing_refusal(model, coupling, shared) is not None:
            continue
        weights = [model.get_parameter(f"{p}.weight") for p in (*coupling.producers, coupling.consumer)]
        before += sum(int(torch.count_nonzero(weight)) for weight in weights)
        for kind, idle in _clear(model, coupling):
            counts[kind][0] += int(idle.sum())
            counts[kind][1] += idle.numel()
        after += sum(int(torch.count_nonzero(weight)) for weight in weights)
    found = {kind: (count, total) for kind, (count, total) in counts.items() if count}
    return Idle(found=found, cleared=before - after, nonzeros=before)


def _clear(model: nn.Module, coupling: Coupling) -> Iterator[tuple[str, Tensor]]:
    """Kinds of features, and bool [features] of those without an effect."""
    parts = _parts(model, coupling)
    out = _Columns(model.get_submodule(coupling.consumer))
    if coupling.kind == "neurons":
        yield "neurons", _clear_neurons(parts, out, activation_of(model, coupling))
        return
    attention = attention_of(model, coupling)
    if not averages_values(attention):
        return
    query, key, value = parts[:3]
    gone = _clear_constant(value, out, None)
    yield "value features", gone
    if multiplies_queries_and_keys(attention):
        dead_heads = (
            gone.view(coupling.units, coupling.unit_size).all(1).repeat_interleave(coupling.unit_size)
        )
        silent = query.is_zero & query.has_zero_bias | key.is_zero | dead_heads
        for side in (query, key):
            side.clear(silent)
        yield "query and key features", silent


def _clear_neurons(parts: list["_Rows"], out: "_Columns", act: Callable[[Tensor], Tensor] | None) -> Tensor:
    if len(parts) == 1:
        return _clear_constant(parts[0], out, act)
    silent = out.is_zero
    if act is not None and is_zero_at_zero(act):
        for part in parts:
            silent = silent | part.is_zero & part.has_zero_bias
    for part in parts:
        part.clear(silent)
    out.clear(silent)
    return silent


def _clear_constant(rows: "_Rows", out: "_Columns", act: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Rules 1 to 3 for features that are act(row . x + bias); no `act`: as they are, for values only."""
    unread, constant = out.is_zero, torch.zeros_like(out.is_zero)
    values = rows.constants(act)
    if values is not None:
        constant = rows.is_zero & (True if out.has_bias else values == 0)
        out.add(torch.where(constant & ~unread, values, 0.0))
    gone = unread | constant
    rows.clear(gone)
    out.clear(gone)
    return gone


class _Rows:
    """Features that a linear layer computes, or one stack of a fused one: weight [features, in] and bias."""

    def __init__(self, linear: nn.Linear, stack: slice, *, is_value: bool = False) -> None:
        self._weight = linear.weight[stack]
        self._bias = None if linear.bias is None else linear.bias[stack]
        self._is_value = is_value

    @property
    def is_zero(self) -> Tensor:
        """bool [features]: no weight of the row is there."""
        return torch.eq(self._weight, 0).all(dim=1)

    @property
    def has_zero_bias(self) -> Tensor:
        return torch.eq(self._zeros if self._bias is None else self._bias, 0)

    @property
    def _zeros(self) -> Tensor:
        return self._weight.new_zeros(len(self._weight))

    def constants(self, act: Callable[[Tensor], Tensor] | None) -> Tensor | None:
        """float [features]: what a feature is where its row is zero; None where the activation is not known."""
        bias = self._zeros if self._bias is None else self._bias
        if act is None:
            return bias.clone() if self._is_value else None
        try:
            return act(bias)
        except (TypeError, RuntimeError, ValueError):
            return None

    def clear(self, features: Tensor) -> None:
        self._weight[features] = 0
        if self._bias is not None:
            self._bias[features] = 0


class _Columns:
    """The linear layer that reads the features: weight [out, features] and bias."""

    def __init__(self, linear: nn.Module) -> None:
        assert isinstance(linear, nn.Linear)  # noqa: S101 - couplings name linear layers
        self._linear = linear

    @property
    def is_zero(self) -> Tensor:
        """bool [features]: nobody reads it."""
        return torch.eq(self._linear.weight, 0).all(dim=0)

    @property
    def has_bias(self) -> bool:
        return self._linear.bias is not None

    def add(self, constants: Tensor) -> None:
        """Bring constants of the features, [features], into the bias."""
        if self._linear.bias is not None and bool(constants.any()):
            sums = self._linear.weight.double() @ constants.double()
            self._linear.bias.add_(sums.to(self._linear.bias.dtype))

    def clear(self, features: Tensor) -> None:
        self._linear.weight[:, features] = 0


def _parts(model: nn.Module, coupling: Coupling) -> list[_Rows]:
    """Query, key, value and whatever follows; gate and up; or the one layer of plain neurons."""
    width, heads = coupling.units * coupling.unit_size, coupling.kind == "heads"
    found: list[_Rows] = []
    for path in coupling.producers:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)  # noqa: S101 - couplings name linear layers
        for start in range(0, coupling.stacks * width, width):
            found.append(_Rows(linear, slice(start, start + width), is_value=heads and len(found) == 2))
    return found
