"""Run folders that somebody has damaged: a run on one ends well or in one line, and touches nothing outside."""

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torturing.forked import command, finish, fork, run_results
from torturing.jobs import Case
from torturing.kills import REPEATED

from platon_compress.errors import CheckFailedError

__all__ = ["KINDS", "mutate_folders"]

_SECONDS = 300
_OUTSIDE = ("precious.txt", ".x.tmp-1")
_TEXTS = (b"[]", b"3", b"null", b'{"stages": {"bake": 1}}', b"a: &a [*a]")


def mutate_folders(case: Case, count: int, seed: int) -> dict[str, Any]:
    """`count` copies of a finished or half-finished folder, each with one thing damaged, and a command on it.

    Returns how many ended well and how many in one line. Raises CheckFailedError for any other end.
    """
    moments = random.Random(f"{seed} {case.name} mutations")  # noqa: S311
    place, outside = case.whole.parent / "mutated", case.whole.parent / "outside"
    outside.mkdir()
    for name in _OUTSIDE:
        (outside / name).write_text("precious", encoding="utf-8")
    ends, kinds = Counter[str](), Counter[str]()
    for _ in range(count):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(case.whole, place)
        _forget(place, moments.choice((None, "prune", "convert", "verify")))
        kind, damaged = _mutate(place, outside, moments)
        kinds[kind] += 1
        ends[_end(case, place, outside, f"{kind} {damaged}", moments)] += 1
    return {"mutations": count, "refused": ends["refused"], "went_on": ends["went on"], "kinds": dict(kinds)}


def _forget(place: Path, begun: str | None) -> None:
    """As if the stages from `begun` on had not run yet."""
    if begun is None:
        return
    path = place / "state.json"
    state = json.loads(path.read_text(encoding="utf-8"))
    names = list(state["stages"])
    state["stages"] = {name: state["stages"][name] for name in names[: names.index(begun)]}
    path.write_text(json.dumps(state), encoding="utf-8")


def _end(case: Case, place: Path, outside: Path, told: str, moments: random.Random) -> str:
    stage = moments.choice((None, *(s for s in REPEATED if s in case.stages), "report"))
    words = case.words if stage is None else (stage,)
    log = place.with_suffix(".log")
    status = finish(fork(command(*words, "-o", place), log), _SECONDS)
    said = log.read_text(encoding="utf-8").strip().splitlines()
    where = f"{told}, then {words[0]}"
    if status not in (0, 2):
        raise CheckFailedError(f"{where}: exit status {status}, {' / '.join(said)}")
    if status == 2 and len(said) > 1:
        raise CheckFailedError(f"{where}: {len(said)} lines, {' / '.join(said)}")
    if sorted(path.name for path in outside.iterdir()) != sorted(_OUTSIDE) or any(
        (outside / name).read_text(encoding="utf-8") != "precious" for name in _OUTSIDE
    ):
        raise CheckFailedError(f"{where}: something outside the folder was touched")
    if status == 0 and stage is None:
        found = run_results(place)
        wrong = [name for name in case.results if found.get(name) != case.results[name]]
        # A stage that is done is not opened again where nothing after it has to run.
        if any(name not in told for name in wrong):
            raise CheckFailedError(f"{where}: other results, {wrong}")
    return "went on" if status == 0 else "refused"


def _mutate(folder: Path, outside: Path, moments: random.Random) -> tuple[str, str]:
    """Damage one thing: what was done, and to what."""
    path = moments.choice([p for p in sorted(folder.rglob("*")) if p.name != ".lock"])
    kind = moments.choice((*_REPLACED, *KINDS))
    if path.is_dir() and kind in KINDS:
        kind = "delete"
    if kind in KINDS:
        path.write_bytes(KINDS[kind](path.read_bytes(), moments))
    else:
        (shutil.rmtree if path.is_dir() else os.unlink)(path)
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "link":
            path.symlink_to(moments.choice((outside, outside / "precious.txt", outside / "nothing")))
    return kind, str(path.relative_to(folder))


_REPLACED = ("delete", "link", "pipe")


def _flipped(content: bytes, moments: random.Random) -> bytes:
    changed = bytearray(content)
    if changed:
        changed[moments.randrange(len(changed))] ^= 1 << moments.randrange(8)
    return bytes(changed)


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "cut": lambda content, _: content[: len(content) // 2],
    "garbage": lambda content, moments: moments.randbytes(len(content)),
    "flip": _flipped,
    "nan": lambda content, _: content[:-4] + b"\x00\x00\xc0\x7f",
    "type": lambda _, moments: moments.choice(_TEXTS),
    "empty": lambda *_: b"",
}
"""What is done to the bytes of a file."""
