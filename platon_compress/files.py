"""Files and folders that are either the old ones or the new ones, whatever happens in between.

What is written goes to a temporary name beside its target, reaches the disk, and is renamed. A process that is killed
leaves at most a temporary name behind, which :func:`clear_leftovers` removes, or turns back into the old folder.
"""

import contextlib
import ctypes
import json
import math
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError, first_line

__all__ = [
    "clear_leftovers",
    "explained",
    "inner",
    "is_leftover",
    "new_file",
    "new_folder",
    "read_json",
    "remove_folder",
    "write_bytes",
    "write_json",
    "write_text",
]

_NO_LETTERS = re.compile("[\ud800-\udc7f\udd00-\udfff]")  # what surrogateescape never makes
_NEW, _OLD = ".tmp-", ".old-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


@contextlib.contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """A temporary path beside `target`; what the block writes there gets its name when the block ends well.

    Raises InputError when the place cannot be written to.
    """
    temporary = _beside(target, _NEW)
    with explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            _flush(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        _flush(target.parent)


def write_bytes(target: Path, content: bytes) -> Path:
    """Write one file, see :func:`new_file`."""
    with new_file(target) as temporary:
        temporary.write_bytes(content)
    return target


def write_text(target: Path, text: str) -> Path:
    """Write one UTF-8 file, see :func:`new_file`. A name that the locale has no letters for is written as its bytes say."""
    try:
        content = text.encode()
    except UnicodeEncodeError:
        content = _NO_LETTERS.sub("\ufffd", text).encode("utf-8", "surrogateescape")
        content = content.decode("utf-8", "replace").encode()
    return write_bytes(target, content)


def write_json(target: Path, value: Any) -> Path:
    """Write one JSON file, see :func:`new_file`. NaN and infinity are no JSON: ValueError."""
    return write_text(target, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path, cure: str, *, finite: bool = True) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError, ending with `cure`, when there is none.

    finite: NaN, infinity and numbers beyond all floats, which :func:`write_json` never writes, are refused; other tools'
    files may hold them.
    """
    only: dict[str, Any] = {"parse_float": _finite, "parse_constant": _finite} if finite else {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"), **only)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"cannot read {path}: {first_line(error)}; {cure}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a {type(value).__name__}, not a JSON object; {cure}")
    return value


def inner(folder: Path, name: object, is_there: Callable[[Path], bool] = Path.is_file) -> Path | None:
    """The file called `name` below `folder`, or with Path.is_dir the folder; None where none is.

    The name may be from a file that a stranger wrote: one that is too long, holds a zero byte or leads out of the folder
    names nothing.
    """
    try:
        relative = Path(str(name))
        is_below = not relative.is_absolute() and ".." not in relative.parts
        return folder / relative if is_below and is_there(folder / relative) else None
    except (OSError, ValueError):
        return None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is no number of a JSON file")
    return value


def _nothing() -> None:
    """What is done before a name changes hands where nobody asks for more."""


@contextlib.contextmanager
def new_folder(target: Path, before: Callable[[], object] = _nothing) -> Iterator[Path]:
    """A temporary folder that takes the place of `target` when the block ends well; `before` is called just then.

    Where the system can exchange two names at once (Linux), there is no moment without a whole `target`; elsewhere
    :func:`clear_leftovers` brings the old one back after a kill between the two renames.
    """
    temporary = _beside(target, _NEW)
    with explained(target):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for path in (*temporary.rglob("*"), temporary):
                _flush(path)
            before()
            _put_in_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _flush(target.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it; a kill leaves all of it, or a temporary name for clear_leftovers."""
    if folder.is_symlink() or folder.exists():
        gone = _beside(folder, _NEW)
        folder.rename(gone)
        _remove(gone)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written in `folder`; call it while no other process writes there."""
    for old in folder.glob(f".*{_OLD}*"):
        target = old.with_name(old.name[1:].rpartition(_OLD)[0])
        if target.exists():
            _remove(old)
        else:
            old.rename(target)
    for new in folder.glob(f".*{_NEW}*"):
        _remove(new)


def is_leftover(path: Path) -> bool:
    """Whether a killed process may have left it: see :func:`clear_leftovers`."""
    return path.name.startswith(".") and (_NEW in path.name or _OLD in path.name)


def _beside(target: Path, kind: str) -> Path:
    # Processes of other containers may have the same number.
    return target.with_name(f".{target.name}{kind}{os.getpid()}-{secrets.token_hex(4)}")


def _put_in_place(temporary: Path, target: Path) -> None:
    if not target.exists():
        temporary.rename(target)
    elif not _exchange(temporary, target):
        old = _beside(target, _OLD)
        target.rename(old)
        temporary.rename(target)
        _remove(old)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the file system cannot."""
    try:
        swap = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    return swap(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _flush(path: Path) -> None:
    """Onto the disk; file systems and systems that cannot flush a folder are let pass."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def explained(target: Path) -> Iterator[None]:
    """A disk that is full or a folder that may not be written to is the user's to cure, not a bug."""
    try:
        yield
    except OSError as error:
        if isinstance(error, InputError) or error.errno is None:
            raise
        raise InputError(
            f"cannot write {target}: {error.strerror or first_line(error)}; free space there, or give another folder"
        ) from error
