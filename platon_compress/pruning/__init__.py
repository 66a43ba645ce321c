"""PLATON pruning while a model trains: settings, pruner, its state on disk and the Trainer callback."""

import importlib
from typing import TYPE_CHECKING

from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.preview import Preview, preview
from platon_compress.pruning.pruner import Pruner, StepReport
from platon_compress.pruning.state.checkpoint import latest_complete_checkpoint, load_pruner, save_pruner

if TYPE_CHECKING:
    from platon_compress.pruning.trainer import PlatonCallback

__all__ = [
    "PlatonCallback",
    "Preview",
    "PruneConfig",
    "Pruner",
    "StepReport",
    "latest_complete_checkpoint",
    "load_pruner",
    "preview",
    "save_pruner",
]


def __getattr__(name: str) -> object:
    """PlatonCallback needs transformers, a raw training loop does not."""
    if name != "PlatonCallback":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module("platon_compress.pruning.trainer").PlatonCallback
