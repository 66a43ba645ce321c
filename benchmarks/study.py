"""What the command lines of all studies share: flags, where a result goes, lines, errors, the time left.

A study without flags writes into runs/studies, which git ignores. `-o benchmarks/results` is for results to commit:
there a checkout with local changes is refused, before anything is measured. The state at the start counts: a change to
the checkout while a study runs costs no result, but is said.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from platon_compress.errors import CheckFailedError, InputError, PlatonError
from platon_compress.measure.environment import git_state, started_from
from platon_compress.measure.result_files import save_result
from platon_compress.pipeline.output import say
from platon_compress.progress import Progress

__all__ = [
    "MODELS",
    "RESULTS",
    "SCRATCH",
    "add_output",
    "counts",
    "floats",
    "keep",
    "names",
    "run_study",
    "share",
    "shares",
    "study_parser",
    "watched",
]

RESULTS = Path(__file__).resolve().parent / "results"
SCRATCH = Path("runs/studies")
MODELS = Path("runs/targets")
"""Where exported models stay between studies."""
_CHANGED = "; the checkout has changed since the start: what was imported or started late may be newer code"


def study_parser(description: str | None, *, threads: bool = True) -> argparse.ArgumentParser:
    """A parser that prints the study's own first lines for `--help`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if threads:
        parser.add_argument("--threads", type=int, default=None, help="default: the cores of this machine")
    return parser


def add_output(parser: argparse.ArgumentParser, name: str | None) -> None:
    """`-o` and, for a study that writes one result, `--name` with this default."""
    parser.add_argument(
        "-o", "--output", type=Path, default=SCRATCH,
        help=f"folder of the results, default {SCRATCH}; benchmarks/results: to be committed",
    )  # fmt: skip
    if name is not None:
        parser.add_argument("--name", default=name, help=f"the result file's stem, default {name}")


def names(text: str) -> tuple[str, ...]:
    """Words from a flag such as bert-base,minilm-l6."""
    return tuple(part for part in text.split(",") if part)


def floats(text: str) -> tuple[float, ...]:
    """Numbers from a flag such as 0.8,0.9; argparse turns the ValueError into its one line."""
    return tuple(float(part) for part in text.split(","))


def share(text: str) -> float:
    """A share of zeros, between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must lie between 0 and 1, got {text}; write for example 0.9")
    return value


def shares(text: str) -> tuple[float, ...]:
    """Shares of zeros from a flag such as 0.8,0.9."""
    return tuple(share(part) for part in text.split(","))


def counts(text: str) -> tuple[int, ...]:
    """Whole numbers from a flag such as 16,128."""
    return tuple(int(part) for part in text.split(","))


def run_study(
    study: Callable[[argparse.Namespace], Iterable[str]],
    parser: argparse.ArgumentParser,
    arguments: Sequence[str],
) -> int:
    """Print every line of `study` as it comes. 0, or the exit code of an error that was said in one line."""
    options = parser.parse_args(arguments)
    try:
        if getattr(options, "output", None) is not None:
            _check_committable(options.output)
        for line in study(options):
            say(line)
    except PlatonError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; what was written stays\n")
        return 130
    return 0


def keep(
    options: argparse.Namespace,
    report: Mapping[str, Any],
    *,
    title: str,
    masks: str = "random",
    sparsity: float | None = None,
    name: str | None = None,
) -> str:
    """Write one result into `options.output` and say where, and whether the checkout has changed since the start."""
    path = save_result(
        options.output,
        name or options.name,
        report,
        title=title,
        masks=masks,
        sparsity=sparsity,
        allow_changed_tree=not _is_committed(options.output),
    )
    changed = _is_committed(options.output) and git_state() != started_from()
    return f"written: {path}{_CHANGED if changed else ''}"


@contextmanager
def watched(text: str) -> Iterator[Progress]:
    """The product's progress display: a bar with the time left on a terminal."""
    from platon_compress.pipeline.reporter import Reporter

    with Reporter().progress(text) as progress:
        yield progress


def _check_committable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--output is {folder}, which is a file; give a folder")
    state = started_from()  # asked here first, so that it is the state at the start of the study
    if _is_committed(folder) and state and state["dirty"]:
        raise CheckFailedError(
            f"this checkout has local changes, so nothing may go into {folder}; commit them, or leave -o out"
        )


def _is_committed(folder: Path) -> bool:
    return folder.resolve() == RESULTS
