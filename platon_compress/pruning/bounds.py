"""How much of one weight matrix a global ranking may take: the least and the greatest sparsity by parameter.

With n weights in a parameter, N in all, S the final sparsity and k = floor(N s) zeros at the schedule's sparsity s:

1. A parameter loses at most floor(n greatest) weights, at every step.
2. It loses at least floor(floor(n least) k / floor(N S)): the least sparsity rises as the whole does and is reached with S.
3. In between the ranking is the global one, and k weights go in all. Where every greatest sparsity equals S, rule 1 may
   leave out less than one weight per parameter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Bounds", "bounds_of", "checked_bounds"]


@dataclass(frozen=True)
class Bounds:
    """By parameter name the weights that it loses at least when `zeros` go in all, and at most at any time."""

    least: Mapping[str, int]
    most: Mapping[str, int]
    zeros: int

    def limits(self, count: int) -> tuple[list[int], list[int]]:
        """Least and most by parameter when `count` weights go in all (rules 1 and 2)."""
        zeros = max(self.zeros, 1)
        return [least * count // zeros for least in self.least.values()], list(self.most.values())


def checked_bounds(bounds: Any) -> dict[str, tuple[float, float]]:
    """The bounds of a config as pairs. Raises InputError unless they map entries to a least and a greatest sparsity."""
    if not isinstance(bounds, Mapping) or not bounds:
        raise InputError(
            f"bounds map names to a least and a greatest sparsity, got {bounds!r}; write {{'re:.*': (0, 0.98)}}"
        )
    for name, bound in bounds.items():
        pair = tuple(bound) if isinstance(bound, list | tuple) else ()
        numbers = all(isinstance(s, int | float) and not isinstance(s, bool) for s in pair)
        if len(pair) != 2 or not numbers or not 0 <= pair[0] <= pair[1] <= 1:
            raise InputError(
                f"bounds of {name!r} must be two sparsities, the least and the greatest, got {bound!r}; write for example "
                "0, 0.98"
            )
    return {name: (bound[0], bound[1]) for name, bound in bounds.items()}


def bounds_of(
    model: "nn.Module",
    weights: Mapping[str, Any],
    *,
    bounds: Mapping[str, tuple[float, float]] | None,
    greatest: float | None,
    sparsity: float,
) -> Bounds | None:
    """The bounds that bind `weights`, of which `sparsity` goes in all; None where nothing binds them.

    `greatest` is for each of them; `bounds` are by entry, later ones win over earlier ones, and over it.

    Raises InputError for an entry that names no prunable parameter, and for bounds that exclude the sparsity.
    """
    if bounds is None and greatest is None:
        return None
    from platon_compress.selection import names_matching

    shares = dict.fromkeys(weights, (0.0, 1.0 if greatest is None else greatest))
    for entry, bound in (bounds or {}).items():
        named = [name for name in weights if name in names_matching(model, entry, "bounds")]
        if not named:
            raise InputError(
                f"bounds entry {entry!r} names no weight that is pruned; name a prunable one, or leave it out"
            )
        shares |= dict.fromkeys(named, bound)
    sizes = {name: weight.numel() for name, weight in weights.items()}
    _check_reach(sizes, shares, sparsity)
    least, most = ({name: int(sizes[name] * share[i]) for name, share in shares.items()} for i in (0, 1))
    return Bounds(least, most, int(sum(sizes.values()) * sparsity))


def _check_reach(
    sizes: Mapping[str, int], shares: Mapping[str, tuple[float, float]], sparsity: float
) -> None:
    total = sum(sizes.values())
    low, high = (sum(sizes[name] * share[i] for name, share in shares.items()) / total for i in (0, 1))
    if not low - 1e-9 <= sparsity <= high + 1e-9:
        raise InputError(
            f"the bounds leave a sparsity between {low:.4g} and {high:.4g} in all, and {sparsity:.4g} is asked for; widen "
            "them, or change the sparsity"
        )
