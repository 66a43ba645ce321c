"""The one file of a machine run: every cell is in it as soon as it is done, and a second call goes on from there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parts.cells import Part, Setup

from platon_compress.errors import InputError
from platon_compress.files import read_json, write_json
from platon_compress.schemas import require_kind, stamped

__all__ = ["Record", "open_record"]

_CURE = "give another file, or delete it"
_SAME = ("cpu_model", "cores_logical")


@dataclass(frozen=True)
class Record:
    """`data` as it lies in `path`. parts: name to {title, unavailable, cells, failed, running, left}."""

    path: Path
    data: dict[str, Any]

    def save(self) -> None:
        write_json(self.path, self.data)

    def reload(self) -> "Record":
        """As another process has left it."""
        return Record(self.path, read_json(self.path, _CURE))

    def part(self, name: str) -> dict[str, Any]:
        return self.data["parts"][name]

    def waiting(self, name: str) -> list[str]:
        """Cells that are neither done nor failed in this call; none where the part cannot run."""
        part = self.part(name)
        done = {*part["cells"], *part["failed"]}
        return [] if part["unavailable"] else [cell for cell in part["left"] if cell not in done]

    def start(self, part: str, cell: str) -> None:
        self.part(part)["running"] = cell
        self.save()

    def finish(self, part: str, cell: str, content: Mapping[str, Any]) -> None:
        self._end(part, cell, "cells", dict(content))

    def fail(self, part: str, cell: str, reason: str) -> None:
        self._end(part, cell, "failed", reason)

    def _end(self, part: str, cell: str, field: str, content: Any) -> None:
        entry = self.part(part)
        entry[field][cell] = content
        entry["running"] = None
        entry["left"] = [name for name in entry["left"] if name != cell]
        self.save()


def open_record(
    path: Path, parts: tuple[Part, ...], setup: Setup, describe: Callable[[], dict[str, Any]]
) -> Record:
    """The record at `path`, a new one where there is none; what failed before is due again.

    describe: {"environment": ..., "facts": ...} of this machine. Raises InputError for a file of another kind, another
    size or another machine.
    """
    here = describe()
    if path.exists():
        data = dict(require_kind(read_json(path, _CURE), "machine", str(path), _CURE))
        _check_same(data, here, setup, path)
    else:
        data = stamped("machine", {"tiny": setup.tiny, **here, "parts": {}})
    for part in parts:
        _renew(data["parts"], part, setup)
    record = Record(path, data)
    record.save()
    return record


def _renew(entries: dict[str, Any], part: Part, setup: Setup) -> None:
    done = entries.get(part.name, {}).get("cells", {})
    entries[part.name] = {
        "title": part.title,
        "unavailable": None,
        "cells": done,
        "failed": {},
        "running": None,
        "left": [cell.name for cell in part.cells(setup) if cell.name not in done],
    }


def _check_same(data: Mapping[str, Any], here: Mapping[str, Any], setup: Setup, path: Path) -> None:
    then, now = data["environment"], here["environment"]
    if data["tiny"] != setup.tiny:
        raise InputError(f"{path} holds a run with --tiny {'on' if data['tiny'] else 'off'}; {_CURE}")
    for key in _SAME:
        if then.get(key) != now.get(key):
            raise InputError(f"{path} comes from another machine ({key} {then.get(key)}); {_CURE}")
