"""Pruning without training: from a finished model and a few hundred inputs without labels, block after block.

Every name is imported on first use: the settings alone are checked without torch.
"""

from typing import TYPE_CHECKING

from platon_compress.lazy import lazy_names

if TYPE_CHECKING:
    from platon_compress.oneshot.config import Method, OneShotConfig
    from platon_compress.oneshot.prune import OneShotResult, PrunedLayer, prune_once

_HOMES = {
    "Method": "platon_compress.oneshot.config",
    "OneShotConfig": "platon_compress.oneshot.config",
    "OneShotResult": "platon_compress.oneshot.prune",
    "PrunedLayer": "platon_compress.oneshot.prune",
    "prune_once": "platon_compress.oneshot.prune",
}

__all__ = ["Method", "OneShotConfig", "OneShotResult", "PrunedLayer", "prune_once"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
