"""Pruning without training: from a finished model and a few hundred inputs without labels, block after block."""

from platon_compress.oneshot.methods import METHODS
from platon_compress.oneshot.prune import OneShotConfig, OneShotResult, PrunedLayer, prune_once

__all__ = ["METHODS", "OneShotConfig", "OneShotResult", "PrunedLayer", "prune_once"]
