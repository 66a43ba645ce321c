"""Fine-tuning a pruned model: what is zero stays zero.

    with keep_zeros(compressed.model):
        trainer.train()

Rules:

1. A gradient at a zero is cleared when it is computed, so that clipping, loss scaling, momentum and second moments
   never see it; NaN and infinity there are cleared too.
2. After every step of any torch optimiser the zeros are written again: weight decay, a momentum from before, or an
   optimiser that mixes entries cannot revive them.
3. The parameters stay the same objects; an optimiser may be built before or after.
"""

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from platon_compress.errors import InputError
from platon_compress.structure import clean_name, unwrap_model

__all__ = ["ZeroKeeper", "keep_zeros"]

# A weight with fewer zeros than this was not pruned: it holds a few by accident.
_LEAST_SHARE = 0.05


class ZeroKeeper:
    """Keeps zeros until :meth:`remove`, or until its `with` block ends. Holds one byte per kept weight.

    names: the parameters that it watches. zeros: how many entries of them it keeps at zero.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.names = tuple(parameters)
        self._watched = [(p, p.detach() == 0) for p in parameters.values()]
        self.zeros = sum(int(mask.sum()) for _, mask in self._watched)
        self._hooks = [p.register_hook(_clearing(mask)) for p, mask in self._watched if p.requires_grad]
        self._hooks.append(register_optimizer_step_post_hook(self._after_step))

    def restore(self) -> None:
        """Write the zeros again, after something other than an optimiser has changed the weights."""
        with torch.no_grad():
            for parameter, mask in self._watched:
                parameter.masked_fill_(_on(mask, parameter), 0.0)

    def remove(self) -> None:
        """Let the weights go."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def __enter__(self) -> "ZeroKeeper":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def _after_step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        del optimizer, args, kwargs
        self.restore()


def keep_zeros(model: nn.Module) -> ZeroKeeper:
    """Keep the zeros that the weights of ``model``'s linear layers hold now, while it is trained.

    Raises InputError where no linear layer's weight is pruned (5 % zeros or more).
    """
    root = unwrap_model(model)
    weights = {
        f"{clean_name(name)}.weight": module.weight
        for name, module in root.named_modules()
        if isinstance(module, nn.Linear)
    }
    pruned = {name: p for name, p in weights.items() if int((p == 0).sum()) >= _LEAST_SHARE * p.numel()}
    if not pruned:
        raise InputError(
            f"none of the {len(weights)} linear layers of {type(root).__name__} holds zeros to keep; give the model "
            "of load_compressed, or a pruned checkpoint"
        )
    return ZeroKeeper(pruned)


def _clearing(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient.masked_fill(_on(mask, gradient), 0.0)


def _on(mask: Tensor, other: Tensor) -> Tensor:
    """The mask where the model has been moved to since."""
    return mask if mask.device == other.device else mask.to(other.device)
