"""What pruning without training may be told; it needs no torch."""

from dataclasses import dataclass
from typing import Literal, get_args

from platon_compress.errors import InputError, shown

__all__ = ["Method", "OneShotConfig"]

Method = Literal["sparsegpt", "wanda", "magnitude"]


@dataclass(frozen=True, kw_only=True)
class OneShotConfig:
    """sparsity: share of the weights of every layer that become zeros. method: which go, see :mod:`.methods`."""

    sparsity: float
    method: Method = "sparsegpt"

    def __post_init__(self) -> None:
        if not isinstance(self.sparsity, int | float) or not 0 < self.sparsity < 1:
            raise InputError(
                f"sparsity must be above 0 and below 1, got {shown(self.sparsity)}; 0.5 keeps every second weight"
            )
        if self.method not in get_args(Method):
            raise InputError(
                f"method must be one of {', '.join(get_args(Method))}, got {shown(self.method)}; take sparsegpt"
            )
