"""Runs of the command in children that a process forks, so that only it pays for importing torch."""

import os
from collections.abc import Callable
from pathlib import Path

from platon_compress.testing import finish

__all__ = ["command", "ended", "finish", "fork", "run_results"]

_KILLED_BY_ERROR = 70
# Times, dates and addresses are not results.
_VOLATILE = (
    "state.json", "family.json", "benchmark.json", "report.md", "report.html", "recipe.yaml", ".lock",
)  # fmt: skip


def fork(work: Callable[[], int], log: Path, stdout: int | None = None) -> int:
    """Process id of a child that calls `work` and exits with what it returns; its standard error goes to the file `log`.

    stdout: a file descriptor; None: nowhere.
    """
    child = os.fork()
    if child:
        return child
    status = _KILLED_BY_ERROR
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY) if stdout is None else stdout, 1)
        status = work()
    finally:
        os._exit(status)


def ended(child: int) -> bool:
    """Whether `child` has ended; `finish` still tells how."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def command(*words: object) -> Callable[[], int]:
    """The work of a child: the command line."""
    from platon_compress.cli import main

    return lambda: main([str(word) for word in words])


def run_results(folder: Path) -> dict[str, bytes]:
    """Relative path -> bytes of everything that is a result, or part of one."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _VOLATILE and not _unfinished(path.relative_to(folder))
    }


def _unfinished(path: Path) -> bool:
    return any(part.startswith(".") or part.endswith("-checkpoints") for part in path.parts)
