"""What a stage's files were when it wrote them, so that damage is noticed before anything is made of it."""

import hashlib
import json
import os
import stat
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError

__all__ = ["damage", "manifest", "refuse_links", "stamp"]

_CHUNK = 1 << 20

Manifest = dict[str, list[int]]


def manifest(folder: Path, names: tuple[str, ...]) -> Manifest:
    """Size and CRC-32 of every file of `folder` that is called so, or lies in a folder that is; by relative path."""
    return {
        path.relative_to(folder).as_posix(): [path.stat().st_size, _checksum(path)]
        for name in names
        for path in _files(folder / name)
    }


def damage(folder: Path, written: Mapping[str, Any], *, thorough: bool) -> str | None:
    """What is wrong with the first file that is not as it was written; None when all are.

    Not `thorough`: names and sizes only.
    """
    for name, entry in written.items():
        path = folder / name
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != entry[0]:
            return f"{path} has {path.stat().st_size:,} bytes, not the {entry[0]:,} that were written"
        if thorough and _checksum(path) != entry[1]:
            return f"{path} does not hold what was written"
    return None


def stamp(value: Any) -> str:
    """A short hash of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def refuse_links(folder: Path) -> None:
    """Raises InputError when `folder` holds anything but files and folders: what is written there stays there.

    A folder may come from a stranger; links in it could lead a run to write or remove elsewhere.
    """
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root) / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                raise InputError(
                    f"{path} is a symbolic link to {os.readlink(path)}, and a run stays in its folder; put the "
                    "original there, or give another --output"
                )
            if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                raise InputError(
                    f"{path} is neither a file nor a folder; remove it, or give another --output"
                )


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (inner for inner in sorted(path.rglob("*")) if inner.is_file())
    elif path.is_file():
        yield path


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value
