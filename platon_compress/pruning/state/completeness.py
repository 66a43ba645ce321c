"""Whether a Trainer's checkpoint is whole: every file of it, not the last one that was written.

A checkpoint is sealed when the Trainer has written all of it: `complete.json` lists size and CRC-32 of every file.
One that a kill left without a seal counts as whole when each of its files can be read to its end and none is missing
that a training needs to go on.
"""

import json
import zipfile
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from platon_compress.errors import InputError
from platon_compress.files import inner, read_json, write_json
from platon_compress.manifest import damage, manifest

__all__ = ["SEAL", "SealCallback", "is_complete", "seal_checkpoint"]

SEAL = "complete.json"
_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin", "adapter_model.*", "pytorch_model_fsdp*")
_PROGRESS = ("optimizer*", "scheduler.pt", "rng_state*.pth")


def seal_checkpoint(folder: Path) -> None:
    """List the files of a finished checkpoint; call it when nobody writes there any more."""
    names = tuple(entry.name for entry in folder.iterdir() if entry.name != SEAL)
    write_json(folder / SEAL, manifest(folder, names))


def is_complete(folder: Path) -> bool:
    """Whether every file of the checkpoint `folder` is whole, and none that training goes on from is missing."""
    if (folder / SEAL).is_file():
        try:
            written: dict[str, Any] = read_json(folder / SEAL, "take another checkpoint")
            return damage(folder, written, thorough=True) is None
        except (InputError, TypeError, LookupError):
            return False
    return _has_all_kinds(folder) and all(_is_readable(path) for path in folder.rglob("*") if path.is_file())


class SealCallback(TrainerCallback):
    """Seals the checkpoints of a training without a pruner; PlatonCallback does it for its own."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The Trainer has just written everything."""
        del control, kwargs
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        # Other processes may still be writing their part.
        if args.world_size == 1 and folder.is_dir():
            seal_checkpoint(folder)


def _has_all_kinds(folder: Path) -> bool:
    """Weights, and optimizer, schedule and random state: all, or in no checkpoint (save_only_model)."""
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        return False
    wanted = [p for p in _PROGRESS if any(folder.parent.glob(f"checkpoint-*/{p}"))]
    return all(any(folder.glob(pattern)) for pattern in wanted)


def _is_readable(path: Path) -> bool:
    """Read to the end by what its name says it is; files of other kinds are taken as they are."""
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(path, framework="np") as file:
                file.keys()
        elif path.suffix == ".json":
            return _has_shards(path, json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in (".pt", ".pth", ".bin"):
            with zipfile.ZipFile(path) as archive:
                return archive.testzip() is None
    except Exception:  # whatever a damaged file makes a reader do
        return False
    return True


def _has_shards(path: Path, content: Any) -> bool:
    """Whether the shards that an index names are there."""
    if not path.name.endswith(".index.json"):
        return True
    return all(inner(path.parent, name) for name in set(content["weight_map"].values()))
