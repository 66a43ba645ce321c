"""What is said when a command ends early, and its exit status: one line, with the way on."""

import contextlib
import errno
import sys
import traceback
from collections.abc import Sequence
from importlib.util import find_spec

from platon_compress.errors import PlatonError, first_line

__all__ = ["fail"]

_MOST_CHARACTERS = 1000
_GOES_ON = ("run", "demo", "compress", "prune")
_STAGES = ("bake", "plan", "convert", "export", "verify", "report")
_CURES = {
    errno.ENOSPC: "free some space there",
    errno.EDQUOT: "free some space there",
    errno.EROFS: "give a folder that can be written to",
    errno.EACCES: "give a place that you may read and write, or change its permissions",
    errno.EPERM: "give a place that you may read and write, or change its permissions",
    errno.ENAMETOOLONG: "give a shorter path",
    errno.EMFILE: "raise the limit of open files: ulimit -n 4096",
    errno.EISDIR: "name a file, not a folder",
    errno.ENOTDIR: "name a folder below folders, not below a file",
    errno.ENOENT: "check the path, or set TMPDIR if it is a temporary folder",
}
# How libraries that are not written in Python say the same.
_FULL_DISK = ("No space left on device", "StorageFull", "file write failed", "Disk quota exceeded")
_FORBIDDEN = ("Permission denied", "PermissionDenied", "Read-only file system", "ReadOnlyFilesystem")
_NO_MEMORY = (
    "can't allocate memory",
    "Failed to allocate memory",
    "bad_alloc",
    "out of memory",
    "Unable to allocate",
    "Cannot allocate memory",
)


def fail(error: BaseException, words: Sequence[str], *, debug: bool = False) -> int:
    """Say in one line on standard error what ended the command `words`; returns the exit status."""
    status, message = _explain(error, words)
    if debug and status:
        traceback.print_exception(error)
    if message:
        _write(message)
    return status


def _explain(error: BaseException, words: Sequence[str]) -> tuple[int, str]:
    """Exit status and what is said, which is nothing where all is well."""
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1, ""
    if isinstance(error, PlatonError):
        return error.exit_code, _line(str(error))
    if isinstance(error, KeyboardInterrupt):
        return 130, _line(_interrupted(words))
    cured = _missing(error) or _environment_fault(error)
    if cured is not None:
        return 2, _line(cured)
    return _usage(error) or (
        1,
        _line(f"{type(error).__name__}: {first_line(error)} (this is a bug; --debug shows where)"),
    )


def _usage(error: BaseException) -> tuple[int, str] | None:
    """What typer raises: help that was asked for, a command without arguments, wrong flags."""
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code, ""
    if isinstance(error, typer.Abort):
        return 130, _line("interrupted")
    if type(error).__name__ == "NoArgsIsHelpError":  # the help itself, not an error
        return 2, f"{error.format_message()}\n"  # type: ignore[attr-defined]
    usage_error = typer.BadParameter.__mro__[1]
    if not isinstance(error, usage_error):
        return None
    context = getattr(error, "ctx", None)
    command = "platon-compress" if context is None else context.command_path
    message = error.format_message().rstrip(".")  # type: ignore[attr-defined]
    return 2, _line(message if "; " in message else f"{message}; see `{command} --help`")


def _interrupted(words: Sequence[str]) -> str:
    command = next((word for word in words if not word.startswith("-")), "")
    if "--dry-run" in words or command not in (*_GOES_ON, *_STAGES):
        return "interrupted; nothing was written, repeat the command to start again"
    if command in _STAGES:
        return f"interrupted; repeat the command to start the stage {command} again"
    return "interrupted; repeat the command to resume at the first unfinished stage"


def _missing(error: BaseException) -> str | None:
    """Deploying needs numpy and onnxruntime alone; the command needs the rest."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    if package == "platon_compress":
        return None
    # onnxruntime-gpu is never joined by the other one
    extras = "train,cpu" if find_spec("onnxruntime") is None else "train"
    return f"this command needs the package {package}, which is not installed; pip install 'platon-compress[{extras}]'"


def _environment_fault(error: BaseException) -> str | None:
    """A disk, a permission or a memory is the user's to cure, whoever met it first."""
    text = first_line(error)
    if isinstance(error, MemoryError) or any(mark in str(error) for mark in _NO_MEMORY):
        return f"not enough memory: {text}; lower the batch or the tokens, or use a larger machine"
    if isinstance(error, UnicodeEncodeError) and error.encoding not in ("utf-8", "utf8"):
        name = error.object[error.start : error.end]
        return f"the locale's encoding, {error.encoding}, cannot write {name!r}; set LC_ALL=C.UTF-8, or PYTHONUTF8=1"
    if isinstance(error, OSError) and error.errno in _CURES:
        place = "" if error.filename is None else f"{error.filename}: "
        return f"{place}{error.strerror}; {_CURES[error.errno]}"
    if any(mark in str(error) for mark in _FULL_DISK):
        return f"cannot write, the disk is full: {text}; {_CURES[errno.ENOSPC]}"
    if any(mark in str(error) for mark in _FORBIDDEN):
        return f"cannot write: {text}; {_CURES[errno.EROFS]}"
    return None


def _line(message: str) -> str:
    words = " ".join(message.split())
    short = words if len(words) <= _MOST_CHARACTERS else f"{words[: _MOST_CHARACTERS - 3]}..."
    return f"error: {short}\n"


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody listens any more
        sys.stderr.write(text)
        sys.stderr.flush()
