"""The files of a pruner's state: one, or one per rank with that rank's rows, which any number of ranks can read."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from platon_compress.errors import MISFITS, InputError
from platon_compress.files import new_file

__all__ = ["STATE_FILE", "SavedState", "file_name", "write_file"]

STATE_FILE = "pruner.safetensors"
_PATTERN = re.compile(r"pruner(?:-(\d{5})-of-(\d{5}))?\.safetensors")
_RECORD = "platon"  # key of the JSON record in the file's metadata
_ROWS = "rows"  # in the record: by tensor, its first row in this file and its rows in all files


def file_name(rank: int, ranks: int) -> str:
    """`pruner.safetensors`, or `pruner-00001-of-00004.safetensors` for rank 1 of 4."""
    return STATE_FILE if ranks == 1 else f"pruner-{rank:05d}-of-{ranks:05d}.safetensors"


def write_file(
    path: Path, tensors: Mapping[str, Tensor], rows: Mapping[str, tuple[int, int]], record: Mapping[str, Any]
) -> None:
    """Writes tensors and record; a kill leaves the old file or the new one."""
    from safetensors.torch import save_file

    with new_file(path) as partial:
        save_file(dict(tensors), partial, metadata={_RECORD: json.dumps({**record, _ROWS: rows})})


class SavedState:
    """A complete set of state files in a folder. Raises InputError when it is missing, damaged or mixed."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._paths = _complete_set(Path(folder))
        records = [self._record(path) for path in self._paths]
        self._rows: list[dict[str, list[int]]] = [record.pop(_ROWS, {}) for record in records]
        self.record: dict[str, Any] = records[0]
        if any(record.get("step") != records[0].get("step") for record in records):
            raise InputError(
                f"the pruner's state files in {folder} are of different steps, {[r.get('step') for r in records]}; "
                "a save was cut off, so take another checkpoint"
            )

    def keys(self) -> set[str]:
        """Names of the tensors."""
        with _opened(self._paths[0]) as file:
            return set(file.keys())

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a whole tensor."""
        with _opened(self._paths[0]) as file:
            shape = list(file.get_slice(key).get_shape())
        rows = self._rows[0].get(key)
        return (rows[1], *shape[1:]) if rows else tuple(shape)

    def read(self, key: str, first: int, end: int) -> Tensor:
        """Rows `first` to `end` of a tensor, from the files that hold them."""
        parts = []
        for path, rows in zip(self._paths, self._rows, strict=True):
            with _opened(path) as file:
                piece = file.get_slice(key)
                begin = rows[key][0] if key in rows else 0
                low, high = max(first - begin, 0), min(end - begin, piece.get_shape()[0])
                if low < high:
                    parts.append(piece[low:high])
        if not parts:  # a rank that holds no rows
            with _opened(self._paths[0]) as file:
                return file.get_tensor(key)[:0]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _record(self, path: Path) -> dict[str, Any]:
        with _opened(path) as file:
            record = json.loads((file.metadata() or {})[_RECORD])
            if not isinstance(record, dict):
                raise ValueError(f"its record is a {type(record).__name__}")
            return record


def _complete_set(folder: Path) -> list[Path]:
    """The one file, or those of every rank. A finished save leaves only its own set."""
    found: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.glob("pruner*.safetensors")):
        if match := _PATTERN.fullmatch(path.name):
            found.setdefault(int(match[2] or 1), {})[int(match[1] or 0)] = path
    complete = [files for ranks, files in found.items() if len(files) == ranks]
    if len(found) > len(complete) or len(complete) > 1:
        raise InputError(
            f"{folder} holds the pruner's state of an unfinished save, {sum(map(len, found.values()))} files of "
            f"{' and '.join(map(str, sorted(found)))} ranks; take another checkpoint"
        )
    if not complete:
        raise InputError(
            f"{folder / STATE_FILE} is missing, so the pruner cannot go on from there; resume from a checkpoint "
            "written with PlatonCallback (latest_complete_checkpoint finds one)"
        )
    return list(complete[0].values())


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, *MISFITS, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no pruner state ({error}); take another checkpoint") from error
