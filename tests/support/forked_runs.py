"""Runs of the command in children that a process forks, so that only it pays for importing torch."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

# Times, dates and addresses are not results.
_VOLATILE = ("state.json", "benchmark.json", "report.md", "report.html", "recipe.yaml", ".lock")


def run_worker(file, folder, seconds):
    """What the test file prints that is started as a program with `folder`; it has to end well."""
    done = subprocess.run(
        [sys.executable, "-P", file, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        check=False,
        capture_output=True,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    return done.stdout


def fork(work, log, stdout=None):
    """Process id of a child that calls `work` and exits with what it returns; its standard error goes to the file `log`.

    stdout: a file descriptor; None: nowhere.
    """
    child = os.fork()
    if child:
        return child
    status = 70
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY) if stdout is None else stdout, 1)
        status = work()
    finally:
        os._exit(status)


def finish(child, seconds=600):
    """The exit status, or minus the signal."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "hangs"


def command(*words):
    """The work of a child: the command line."""
    from platon_compress.cli import main

    return lambda: main([str(word) for word in words])


def run_results(folder):
    """Relative path -> bytes of everything that is a result, or part of one."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _VOLATILE and not _unfinished(path.relative_to(folder))
    }


def _unfinished(path):
    return any(part.startswith(".") or part.endswith("-checkpoints") for part in path.parts)
