"""Checks and helpers that several commands share; the flags themselves are in `flags`."""

import logging
import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from platon_compress.errors import InputError, shown
from platon_compress.limits import MAX_LIST, MAX_ROWS, Limit

if TYPE_CHECKING:
    from platon_compress.pipeline.reporter import Reporter

__all__ = ["check_folder", "check_place", "check_rows", "numbers", "reporter", "shares"]


def check_place(path: Path) -> Path:
    """`path` itself. Raises BadParameter, before any work, when nothing can ever be written there."""
    try:
        for part in (path, *path.parents):
            if not os.path.lexists(part):
                continue
            if not part.exists():
                raise typer.BadParameter(f"{part} is a link that leads nowhere; give another place")
            if part is not path and not part.is_dir():
                raise typer.BadParameter(f"{path} lies below the file {part}; give another place")
            if not os.access(part, os.W_OK):
                raise typer.BadParameter(f"{part} may not be written to; give another place")
            break
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        reason = getattr(error, "strerror", None) or str(error)
        raise typer.BadParameter(f"{shown(str(path))}: {reason}; give another place") from error
    return path


def check_folder(path: Path) -> Path:
    """The same for a path that is to be a folder."""
    if check_place(path).is_file():
        raise typer.BadParameter(f"{path} is a file; give a folder")
    return path


def check_rows(batch: int, tokens: int) -> None:
    """Raises InputError for more rows than one timed call may have."""
    if batch * tokens > MAX_ROWS:
        raise InputError(
            f"--batch {batch} times --tokens {tokens} is more than {MAX_ROWS:,} rows; lower one of them"
        )


def reporter(as_json: bool) -> "Reporter":
    """What talks to the person: lines and bars, or nothing but errors with `--json`."""
    from platon_compress.pipeline.reporter import Reporter

    _quiet_libraries()
    return Reporter(quiet=as_json)


def numbers(text: str, flag: str, limit: Limit) -> tuple[int, ...]:
    """Whole numbers from a flag such as 1,8. Raises InputError, also for one out of its range."""
    try:
        values = [int(part) for part in _parts(text, flag)]
    except ValueError as error:
        raise InputError(
            f"{flag} is {shown(text)}; give whole numbers with commas, for example 1,8"
        ) from error
    return tuple(limit.check(flag, value) for value in values)


def shares(text: str, flag: str, limit: Limit) -> tuple[float, ...]:
    """Numbers from a flag such as 0.8,0.9. Raises InputError, also for one out of its range."""
    try:
        values = [float(part) for part in _parts(text, flag)]
    except ValueError as error:
        raise InputError(f"{flag} is {shown(text)}; give numbers with commas, for example 0.8,0.9") from error
    return tuple(limit.check(flag, value) for value in values)


def _parts(text: str, flag: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > MAX_LIST:
        raise InputError(f"{flag} holds {len(parts)} values; give at most {MAX_LIST}")
    if len(set(parts)) < len(parts):
        raise InputError(f"{flag} is {shown(text)}, which names a value twice; keep one")
    return parts


def _quiet_libraries() -> None:
    """Other libraries' chatter goes; our own lines and errors stay. None of them is imported for that."""
    warnings.filterwarnings("ignore", module=r"(torch|transformers|onnx|datasets|accelerate)")
    for chatty in ("huggingface_hub", "datasets", "torch.onnx", "onnxscript"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    if "transformers" in sys.modules:  # too late for the environment that main() has set
        from transformers.utils import logging as transformers_logging

        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
