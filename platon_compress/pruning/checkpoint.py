"""The pruner's state on disk, beside the Trainer's checkpoints."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from platon_compress.errors import InputError
from platon_compress.pruning.pruner import Pruner

__all__ = ["STATE_FILE", "latest_complete_checkpoint", "load_pruner", "save_pruner"]

STATE_FILE = "pruner.safetensors"
_TENSORS = ("sensitivity_ema", "uncertainty_ema", "window", "masks")
_RECORD = "platon"  # key of the JSON record in the file's metadata


def save_pruner(pruner: Pruner, folder: str | os.PathLike[str]) -> Path:
    """Writes `pruner.safetensors` into a folder, which is created; a kill leaves the old file or the new one."""
    from safetensors.torch import save_file

    path = Path(folder) / STATE_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    state = pruner.state_dict()
    tensors = {f"{field}.{name}": t for field in _TENSORS for name, t in state.pop(field).items()}
    partial = path.with_name(f".{STATE_FILE}.{os.getpid()}")
    try:
        save_file(tensors, partial, metadata={_RECORD: json.dumps(state)})
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def load_pruner(pruner: Pruner, folder: str | os.PathLike[str]) -> None:
    """Restores what `save_pruner` wrote. Raises InputError when it is missing, damaged or of another run."""
    path = Path(folder) / STATE_FILE
    if not path.is_file():
        raise InputError(
            f"{path} is missing, so the pruner cannot go on from there; resume from a checkpoint written with "
            "PlatonCallback (latest_complete_checkpoint finds one)"
        )
    pruner.load_state_dict(_read(path))


def latest_complete_checkpoint(
    output_dir: str | os.PathLike[str], *, with_pruner: bool = True
) -> Path | None:
    """The newest `checkpoint-N` that holds both the Trainer's and the pruner's state of step N.

    The Trainer writes trainer_state.json last, so a checkpoint that a kill cut short is passed over.
    `with_pruner=False` asks for the Trainer's state only, for a run that does not prune.
    """
    found = {}
    for folder in Path(output_dir).glob("checkpoint-*"):
        if match := re.fullmatch(r"checkpoint-(\d+)", folder.name):
            found[int(match.group(1))] = folder
    for step in sorted(found, reverse=True):
        pruner_step = _pruner_step(found[step]) if with_pruner else step
        if _trainer_step(found[step]) == step == pruner_step:
            return found[step]
    return None


def _read(path: Path) -> dict[str, Any]:
    record, tensors = _open(path)
    state: dict[str, Any] = {**record, **{field: {} for field in _TENSORS}}
    for key, tensor in tensors.items():
        field, _, name = key.partition(".")
        state.setdefault(field, {})[name] = tensor
    return state


def _open(path: Path, *, tensors: bool = True) -> tuple[dict[str, Any], Mapping[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            record = json.loads((file.metadata() or {})[_RECORD])
            return record, {key: file.get_tensor(key) for key in file.keys()} if tensors else {}  # noqa: SIM118
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise InputError(f"{path} is no pruner state ({error}); take another checkpoint") from error


def _pruner_step(folder: Path) -> int | None:
    try:
        return int(_open(folder / STATE_FILE, tensors=False)[0]["step"])
    except InputError:
        return None


def _trainer_step(folder: Path) -> int | None:
    try:
        return int(json.loads((folder / "trainer_state.json").read_text())["global_step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
