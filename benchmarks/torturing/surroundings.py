"""Whole runs where something around them is wrong: another run, a full disk, closed output, a foreign locale.

Each ends well, with the same bits as an undisturbed run, or in one line and exit 2; then the same command goes on.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from torturing.forked import command, finish, fork, run_results
from torturing.jobs import Case

from platon_compress.errors import CheckFailedError

__all__ = ["SURROUNDINGS", "Ends", "Surrounding"]

_FULL = ("200k", "600k", "1500k")  # disks: full at once, and in later stages
_PLENTY = "200m"
_SECONDS = 900
_LOCALES = {"de_DE": "ISO-8859-1", "tr_TR": "UTF-8"}
# As a program that asks for the user's locale and holds us: decimal commas for whatever is written in C.
_HELD_BY_A_PROGRAM = (
    "import locale, sys; locale.setlocale(locale.LC_ALL, ''); assert locale.localeconv()['decimal_point'] == sys.argv[1]; "
    "from platon_compress.cli import main; sys.exit(main(sys.argv[2:]))"
)
# As the forked children have it: the same sums, bit for bit.
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
_CLOSED = "import os, sys; [os.close(i) for i in range(3)]; os.execv(sys.executable, sys.argv[1:])"


@dataclass
class Ends:
    """How the runs ended: all files as they must be, or in one line; None: it could not be tried here."""

    finished: int = 0
    refused: int = 0


@dataclass(frozen=True)
class Surrounding:
    """`tried` in a new folder; None where this machine does not allow it."""

    title: str
    tried: Callable[[Case, Path], Ends | None]


def _whole(case: Case, folder: Path, status: int | None, log: str) -> None:
    if status != 0:
        raise CheckFailedError(f"a run ends with {status}: {log}")
    if run_results(folder) != case.results:
        raise CheckFailedError(f"{folder} holds other results than an undisturbed run")


def _one_line(status: int | None, log: Path, words: str) -> None:
    """Of an error; a slow run also tells the time left, a line a minute."""
    said = [line for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("error:")]
    if status != 2 or len(said) != 1 or words not in said[0] or "this is a bug" in said[0]:
        raise CheckFailedError(f"exit status {status}, not one line with {words!r}: {log.read_text()}")


def _two_runs(case: Case, place: Path) -> Ends:
    logs = [place / f"{number}.log" for number in range(2)]
    children = [fork(command(*case.words, "-o", place / "run"), log) for log in logs]
    status = [finish(child, _SECONDS) for child in children]
    if set(status) != {0, 2}:
        raise CheckFailedError(f"two runs on one folder end with {status}")
    _one_line(2, logs[status.index(2)], "another process works on")
    _whole(case, place / "run", 0, "")
    return Ends(finished=1, refused=1)


def _head(case: Case, place: Path) -> Ends:
    """As `| head -1` does it."""
    reading, writing = os.pipe()
    log = place / "log"
    child = fork(command(*case.words, "-o", place / "run"), log, stdout=writing)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    _whole(case, place / "run", finish(child, _SECONDS), log.read_text())
    return Ends(finished=1)


def _closed(case: Case, place: Path) -> Ends:
    """As `<&- >&- 2>&-` does it."""
    words = [sys.executable, "-P", "-m", "platon_compress", *case.words, "-o", str(place / "run")]
    closing = [sys.executable, "-c", _CLOSED, *words]
    done = subprocess.run(closing, env=_ENVIRONMENT, check=False, timeout=_SECONDS)
    _whole(case, place / "run", done.returncode, "")
    return Ends(finished=1)


def _mount(disk: Path, options: str) -> None:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True, capture_output=True
    )


@contextmanager
def _disk(place: Path) -> Iterator[Path | None]:
    """A small disk of its own, which is root's to make."""
    disk = place / "disk"
    disk.mkdir()
    try:
        _mount(disk, "size=100k")
    except (OSError, subprocess.CalledProcessError):
        yield None
        return
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def _full_disk(case: Case, place: Path) -> Ends | None:
    log, refused = place / "log", 0
    with _disk(place) as disk:
        if disk is None:
            return None
        for size in (*_FULL, _PLENTY):
            _mount(disk, "remount,size=" + size)
            status = finish(fork(command(*case.words, "-o", disk / "run"), log), _SECONDS)
            if status == 0 or size == _PLENTY:
                break
            _one_line(status, log, "free")
            refused += 1
        _whole(case, disk / "run", status, log.read_text())
    if not refused:
        raise CheckFailedError(f"a disk of {_FULL[0]} is never full")
    return Ends(finished=1, refused=refused)


def _read_only(case: Case, place: Path) -> Ends | None:
    log = place / "log"
    with _disk(place) as disk:
        if disk is None:
            return None
        _mount(disk, "remount,size=" + _PLENTY)
        shutil.copytree(case.whole, disk / "run")
        _mount(disk, "remount,ro")
        for folder in ("run", "other"):
            words = (*case.words, "--set", "plan.tokens=9", "-o", disk / folder)
            _one_line(finish(fork(command(*words), log), _SECONDS), log, "")
        _whole(case, disk / "run", 0, "")
    return Ends(refused=2)


def _elsewhere(case: Case, place: Path, program: list[str], environment: Mapping[str, str]) -> None:
    """The job in a process of its own, the recipe and the output with names that ASCII does not have."""
    copy, output = place / "r\u00e9cipe.yaml", place / "pl\u00e4ce"
    shutil.copy(case.words[-1], copy)
    words = [sys.executable, "-P", *program, *case.words[:-1], str(copy), "-o", str(output)]
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", **environment}
    done = subprocess.run(
        words, env={**_ENVIRONMENT, **plain}, capture_output=True, check=False, timeout=_SECONDS
    )
    _whole(case, output, done.returncode, done.stderr.decode(errors="replace"))


def _no_locale(case: Case, place: Path) -> Ends:
    """Nothing may depend on what the system takes for the encoding of texts."""
    _elsewhere(case, place, ["-m", "platon_compress"], {"LC_ALL": "POSIX"})
    return Ends(finished=1)


def _foreign_locales(case: Case, place: Path) -> Ends | None:
    """Decimal commas, an encoding that is not UTF-8, and a language with letters of its own for i and I."""
    for name, encoding in _LOCALES.items():
        made = place / f"{name}.{encoding}"
        tool = ["localedef", "-i", name, "-f", encoding, str(made)]
        try:
            subprocess.run(tool, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        own = place / name
        own.mkdir()
        chosen = {"LOCPATH": str(place), "LC_ALL": made.name}
        _elsewhere(case, own, ["-c", _HELD_BY_A_PROGRAM, ","], chosen)
    return Ends(finished=len(_LOCALES))


SURROUNDINGS = {
    "two": Surrounding("two runs on one folder at once", _two_runs),
    "head": Surrounding("output that somebody stops reading, as `head -1` does", _head),
    "closed": Surrounding("closed input, output and error output", _closed),
    "full": Surrounding("a disk that is full, at once and in later stages", _full_disk),
    "read-only": Surrounding("a disk that nobody can write to, with and without a run", _read_only),
    "posix": Surrounding("no locale, and names that ASCII does not have", _no_locale),
    "locales": Surrounding("locales with decimal commas: German in Latin-1, Turkish", _foreign_locales),
}
