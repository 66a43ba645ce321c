"""PLATON pruning while a model trains: settings, pruner, its state on disk and the Trainer callback.

Every name is imported on first use: the settings alone are checked without torch, and only PlatonCallback needs
transformers.
"""

from typing import TYPE_CHECKING

from platon_compress.lazy import lazy_names

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

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
