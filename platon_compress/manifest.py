"""What files were when they were written, so that damage is noticed before anything is made of them."""

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platon_compress.errors import shown
from platon_compress.files import inner

__all__ = ["damage", "manifest"]

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
        path = inner(folder, name)
        if path is None:
            return f"{shown(name)} is missing from {folder}"
        if path.stat().st_size != entry[0]:
            return f"{path} has {path.stat().st_size:,} bytes, not the {entry[0]:,} that were written"
        if thorough and _checksum(path) != entry[1]:
            return f"{path} does not hold what was written"
    return None


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
