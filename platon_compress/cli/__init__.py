"""The `platon-compress` command. Exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""

import os
import sys
from collections.abc import Sequence

from platon_compress.cli.failures import fail

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. One line on standard error for every failure."""
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        _survive_old_terminals()
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    _quiet_libraries()
    try:
        return _run(words)
    except BaseException as error:  # Ctrl-C too ends in one line that says how to go on
        return fail(error, words, debug=debug)


def _run(words: list[str]) -> int:
    # typer's own main() would turn Ctrl-C into a silent exit, and a closed pipe into a failed stage.
    from typer.main import get_command

    from platon_compress.cli.app import app

    command = get_command(app)
    with command.make_context("platon-compress", words) as context:
        result = command.invoke(context)
    return result if isinstance(result, int) else 0


def _open_closed_streams() -> None:
    """After `<&- >&- 2>&-` a file of the run would be the next descriptor 1, and get what libraries print."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != descriptor:
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
        mode = "w" if descriptor else "r"
        setattr(sys, name, open(descriptor, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def _survive_old_terminals() -> None:
    """A sign that the terminal cannot write becomes a question mark; it does not end the work."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _quiet_libraries() -> None:
    """Silence that has to be set before the libraries are imported, which a refusal never does."""
    for name, value in (
        ("TOKENIZERS_PARALLELISM", "false"),
        ("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ):
        os.environ.setdefault(name, value)
