"""A rate of dropout for a training, in place of the model's own."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

__all__ = ["set_dropout"]


def set_dropout(model: "nn.Module", rate: float | None) -> None:
    """Let `model` leave out this share of its features and attention weights as it trains; None: what it came with.

    Also where a model holds no layer for it but hands a rate to its attention. Stochastic depth stays. The model's
    configuration is left as it was.
    """
    from torch import nn

    if rate is None:
        return
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, rate)
