"""Weights of a checkpoint whose names are not those of the model's modules.

transformers 5 (5.24) saves some models under the names of older releases, ViT, DeiT and DINOv2 among them, and its Trainer
takes back from a checkpoint only what has the modules' own names: the rest would go on from its first weights, without an
error.
"""

from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn

__all__ = ["restore_renamed"]

_FILE = "model.safetensors"


def restore_renamed(model: nn.Module, folder: Path) -> bool:
    """Load the weights that lie in `folder` into `model`, where some have other names; whether that was so."""
    if not _has_other_names(folder / _FILE, model):
        return False
    kind: Any = type(model)
    model.load_state_dict(kind.from_pretrained(folder).state_dict())
    return True


def _has_other_names(path: Path, model: nn.Module) -> bool:
    """Whether a file holds weights that the model, one of transformers and not sharded, does not have."""
    sharded = any(hasattr(parameter, "device_mesh") for parameter in model.parameters())
    if sharded or not path.is_file() or not hasattr(model, "from_pretrained"):
        return False
    with safe_open(path, "pt") as stored:
        return not set(stored.keys()) <= model.state_dict().keys()
