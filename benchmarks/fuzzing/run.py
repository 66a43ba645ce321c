"""Runs a reader on changed inputs, in this process, and keeps those that it does not answer as it should."""

import os
import random
import signal
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fuzzing.mutate import mutated
from fuzzing.reader import Reader

from platon_compress.errors import InputError

__all__ = ["fuzz_reader"]

# A file on a busy disk takes longer than its reader.
_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
_SLOWEST_SECONDS = 20.0  # of processor time; a good input takes milliseconds


class _HangError(BaseException):
    """Not an Exception: nobody may catch it."""


def fuzz_reader(reader: Reader, inputs: int, seed: int, faults: Path) -> dict[str, Any]:
    """Counts of how `inputs` inputs ended, and the faults by what they are.

    A fault is an exception other than InputError, a warning, an input that takes longer than _SLOWEST_SECONDS, and a file
    that is left beside the input. The first input of each goes into `faults`.
    """
    seeds, ended, found = reader.seeds(), Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(dir=_MEMORY) as name, _patience():
        path = Path(name) / reader.file
        if reader.beside is not None:
            reader.beside(path.parent)
        path.touch()
        before = set(path.parent.iterdir())
        for content in seeds:
            path.write_bytes(content)
            reader.read(path)  # a seed that is refused would fuzz nothing
        for number in range(inputs):
            path.write_bytes(mutated(seeds, reader.form, random.Random(f"{seed} {reader.name} {number}")))  # noqa: S311
            outcome, fault = _outcome(reader, path, before)
            ended[outcome] += 1
            if fault and not found[fault]:
                _keep(faults, reader, number, path.read_bytes(), fault)
            found.update([fault] if fault else [])
    return {
        "inputs": inputs,
        **{name: ended[name] for name in ("first_check", "refused", "accepted")},
        "faults": sum(found.values()),
        "kinds_of_faults": dict(found),
    }


def _outcome(reader: Reader, path: Path, before: set[Path]) -> tuple[str, str]:
    """How an input ended, and its fault or ""."""
    first = _called(reader.first, path)
    fault = _called(reader.read, path)
    left = [entry.name for entry in path.parent.iterdir() if entry not in before]
    if left:
        fault = fault if isinstance(fault, str) else f"leaves {left[0]}"
        for entry in left:
            (path.parent / entry).unlink()
    if isinstance(fault, str):
        return "faulty", fault
    if isinstance(first, InputError):
        return ("first_check", "") if fault is not None else ("faulty", "takes what its first check refuses")
    return ("accepted" if fault is None else "refused"), ""


def _called(call: Callable[[Path], object], path: Path) -> InputError | str | None:
    """None, the refusal in one line, or what is wrong."""
    signal.setitimer(signal.ITIMER_PROF, _SLOWEST_SECONDS)
    try:
        call(path)
    except InputError as error:
        return error
    except _HangError as error:
        return f"hangs: {_place(error)}"
    except Exception as error:
        return f"{type(error).__name__}: {_place(error)}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def _place(error: BaseException) -> str:
    """Where our code was."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [
        frame
        for frame in frames
        if "/fuzzing/" not in frame.filename and "site-packages" not in frame.filename
    ]
    last = (own or frames)[-1]
    return f"{Path(last.filename).name}, {last.name}: {last.line}"[:200]


def _keep(folder: Path, reader: Reader, number: int, content: bytes, fault: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{reader.name}-{number}-{reader.file}").write_bytes(content)
    with (folder / "faults.txt").open("a", encoding="utf-8") as file:
        file.write(f"{reader.name} {number}: {fault}\n")


@contextmanager
def _patience() -> Iterator[None]:
    """A hang becomes an exception, and so does a warning of our own code: a user would see a line more."""

    def give_up(*_: object) -> None:
        raise _HangError

    before = signal.signal(signal.SIGPROF, give_up)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", module=r"platon_compress\b")
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
