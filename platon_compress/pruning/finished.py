"""A Trainer that resumes from the last checkpoint of a run trains one step more; this takes it back."""

import logging
from typing import Any

from torch import Tensor, nn
from transformers import TrainerControl, TrainerState

__all__ = ["FinishedRun"]

_log = logging.getLogger(__name__)


class FinishedRun:
    """The weights of a run that had reached its last step when it was resumed.

    Seen in transformers 4.57 and 5.23: `train()` looks at `max_steps` only after a step.
    """

    def __init__(self, model: nn.Module, state: TrainerState) -> None:
        self._model = model
        self._weights: dict[str, Tensor] = {k: v.detach().clone() for k, v in model.state_dict().items()}
        _log.warning("step %d is the last of this run; nothing is left to train", state.global_step)

    @classmethod
    def of(cls, model: Any, state: TrainerState) -> "FinishedRun | None":
        """None when there are steps to go."""
        return cls(model, state) if state.global_step >= state.max_steps > 0 else None

    def undo(self, state: TrainerState, control: TrainerControl) -> None:
        """Puts the weights and the step back, and keeps the Trainer from saving or logging the extra one."""
        self._model.load_state_dict(self._weights)
        state.global_step = min(state.global_step, state.max_steps)
        control.should_save = control.should_log = False
