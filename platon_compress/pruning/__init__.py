"""PLATON pruning while a model trains: settings, pruner, its state on disk and the Trainer callback.

Every name is imported on first use: the settings alone are checked without torch, and only PlatonCallback needs
transformers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from platon_compress.pruning.config import PruneConfig
    from platon_compress.pruning.pruner import Pruner, StepReport
    from platon_compress.pruning.state.checkpoint import latest_complete_checkpoint, load_pruner, save_pruner
    from platon_compress.pruning.trainer import PlatonCallback

_HOMES = {
    "PlatonCallback": "platon_compress.pruning.trainer",
    "PruneConfig": "platon_compress.pruning.config",
    "Pruner": "platon_compress.pruning.pruner",
    "StepReport": "platon_compress.pruning.pruner",
    "latest_complete_checkpoint": "platon_compress.pruning.state.checkpoint",
    "load_pruner": "platon_compress.pruning.state.checkpoint",
    "save_pruner": "platon_compress.pruning.state.checkpoint",
}

__all__ = [
    "PlatonCallback",
    "PruneConfig",
    "Pruner",
    "StepReport",
    "latest_complete_checkpoint",
    "load_pruner",
    "save_pruner",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
