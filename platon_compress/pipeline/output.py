"""Standard output that may close: a reader who has seen enough (`| head`) does not end the work."""

import contextlib
import os
import sys

__all__ = ["let_go", "say"]


def say(text: str) -> None:
    """Print one text on standard output, whether or not anybody still reads it."""
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        let_go()


def let_go() -> None:
    """What is still printed goes nowhere; said once on standard error, for the work itself goes on."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write("standard output was closed; the work goes on without it\n")
        sys.stderr.flush()
