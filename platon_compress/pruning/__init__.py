"""PLATON pruning while a model trains: settings, pruner and the Trainer callback."""

from platon_compress.pruning.config import PruneConfig
from platon_compress.pruning.pruner import Pruner, StepReport

__all__ = ["PruneConfig", "Pruner", "StepReport"]
