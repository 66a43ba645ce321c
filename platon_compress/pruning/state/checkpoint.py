"""The pruner's state on disk, beside the Trainer's checkpoints."""

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from platon_compress.errors import MISFITS
from platon_compress.pruning.pruner import Pruner
from platon_compress.pruning.state.completeness import is_complete
from platon_compress.pruning.state.files import STATE_FILE, SavedState, file_name, write_file
from platon_compress.pruning.state.record import TENSOR_FIELDS, pack_record

__all__ = ["STATE_FILE", "latest_complete_checkpoint", "load_pruner", "save_pruner"]


def save_pruner(pruner: Pruner, folder: str | os.PathLike[str]) -> Path:
    """Writes `pruner.safetensors` into a folder, which is created; a kill leaves the old file or the new one.

    A pruner of sharded parameters writes one file per rank, so every rank must call it; give each save a folder
    of its own, or a kill may leave files of two steps.
    """
    shards = pruner.shards
    path = Path(folder) / file_name(shards.rank, shards.ranks)
    tensors, rows = {}, {}
    for field, entries in pruner.own_tensors().items():
        for name, tensor in entries.items():
            weight = pruner.parameter(name)
            tensors[f"{field}.{name}"] = tensor
            rows[f"{field}.{name}"] = (shards.rows(weight)[0], weight.shape[0])
    write_file(path, tensors, rows if shards.ranks > 1 else {}, pack_record(pruner))
    _drop_other_sets(path, pruner)
    return path


def load_pruner(pruner: Pruner, folder: str | os.PathLike[str]) -> None:
    """Restores what `save_pruner` wrote, on however many ranks.

    Raises InputError when it is missing, damaged or of another run.
    """
    saved = SavedState(folder)
    state: dict[str, Any] = {**saved.record, **{field: {} for field in TENSOR_FIELDS}}
    names = set(pruner.names)
    for key in sorted(saved.keys()):
        field, _, name = key.partition(".")
        weight = pruner.parameter(name) if name in names else None
        state.setdefault(field, {})[name] = _rows_here(pruner, saved, key, weight)
    pruner.load_state_dict(state)


def latest_complete_checkpoint(
    output_dir: str | os.PathLike[str], *, with_pruner: bool = True
) -> Path | None:
    """The newest `checkpoint-N` that holds both the Trainer's and the pruner's state of step N, every file whole.

    One that a kill cut short, or of which a file is damaged, is passed over for the one before.
    `with_pruner=False` asks for the Trainer's state only, for a run that does not prune.
    """
    found = {}
    for folder in Path(output_dir).glob("checkpoint-*"):
        if match := re.fullmatch(r"checkpoint-(\d+)", folder.name):
            found[int(match.group(1))] = folder
    for step in sorted(found, reverse=True):
        pruner_step = _pruner_step(found[step]) if with_pruner else step
        if _trainer_step(found[step]) == step == pruner_step and is_complete(found[step]):
            return found[step]
    return None


def _rows_here(pruner: Pruner, saved: SavedState, key: str, weight: Tensor | None) -> Tensor:
    """This rank's rows of a saved tensor; only its shape when it does not fit, which load_state_dict refuses."""
    shape = saved.shape(key)
    if weight is None or shape != tuple(weight.shape):
        return torch.empty(shape, device="meta")
    part = saved.read(key, *pruner.shards.rows(weight))
    return pruner.shards.wrap(weight, part.to(pruner.shards.device))


def _drop_other_sets(path: Path, pruner: Pruner) -> None:
    """Removes the files of an earlier save in the same folder by another number of ranks."""
    pruner.shards.barrier()
    if not pruner.shards.is_first:
        return
    own = {file_name(rank, pruner.shards.ranks) for rank in range(pruner.shards.ranks)}
    for other in path.parent.glob("pruner*.safetensors"):
        if other.name not in own:
            other.unlink()


def _pruner_step(folder: Path) -> int | None:
    try:
        return int(SavedState(folder).record["step"])
    except MISFITS:
        return None


def _trainer_step(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / "trainer_state.json").read_text())["global_step"])
    except (OSError, *MISFITS, RecursionError):
        return None
