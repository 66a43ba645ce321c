"""The `platon-compress` command. Exit status: 0 done, 1 a check failed, 2 bad input, 130 interrupted."""

import os
import sys
import traceback
from collections.abc import Sequence

from platon_compress.errors import PlatonError, first_line

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status. One line on standard error for every failure."""
    import typer

    from platon_compress.cli.app import app

    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    # Silence that has to be set before the libraries are imported.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    usage_error = typer.BadParameter.__mro__[1]
    try:
        result = app(args=[w for w in words if w != "--debug"], standalone_mode=False)
        return result if isinstance(result, int) else 0
    except PlatonError as error:
        return _fail(str(error), error.exit_code, debug)
    except usage_error as error:  # type: ignore[misc]
        return _fail(f"{error.format_message()}; see `platon-compress --help`", 2, debug)  # type: ignore[attr-defined]
    except typer.Exit as error:
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted; the same command goes on with the first unfinished stage", 130, debug)
    except Exception as error:  # the last resort of a program: one line, and how to see more
        return _fail(
            f"{type(error).__name__}: {first_line(error)} (this is a bug; --debug shows where)", 1, debug
        )


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    sys.stderr.write(f"error: {' '.join(message.split())}\n")
    return status
