"""What other engines need for the same answers, where they were measured."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from platon_compress.files import read_json
from platon_compress.measure.peers.compare import OURS
from platon_compress.measure.timing import compare
from platon_compress.report.tables import Table, format_milliseconds, format_ratio
from platon_compress.schemas import require_kind

__all__ = ["peer_notes", "peer_table", "read_peers"]

_CURE = "measure again with `bench model --peers`"


def read_peers(folder: Path) -> Mapping[str, Any]:
    """peers.json of a run folder; empty where there is none, or it is of other files."""
    path = folder / "peers.json"
    if not path.exists():
        return {}
    peers = require_kind(read_json(path, _CURE), "peers", str(path), _CURE)
    measured = folder / "onnx" / "compressed.onnx"
    same = measured.is_file() and measured.stat().st_size == peers["compressed_bytes"]
    return peers if same and _of_this_export(folder, peers) else {}


def _of_this_export(folder: Path, peers: Mapping[str, Any]) -> bool:
    """Whether the files were not made anew since; what was measured outside of a run says nothing of it."""
    state = folder / "state.json"
    if peers.get("export") is None or not state.is_file():
        return True
    stages = read_json(state, _CURE).get("stages")
    export = stages.get("export") if isinstance(stages, dict) else None
    return isinstance(export, dict) and export.get("stamp") == peers["export"]


def peer_table(peers: Mapping[str, Any]) -> Table | None:
    """A row for each engine and size."""
    rows = [row for setting in peers.get("settings", ()) for row in _rows(setting, peers["engines"])]
    if not rows:
        return None
    return Table(
        caption="Each engine in its own process, taking turns of one inference, 30 ms apart, with pinned threads",
        headers=("setting", "engine", "version", "median, ms", "speed-up of compressed"),
        rows=tuple(rows),
        text_columns=(0, 1, 2),
        strong_rows=tuple(i for i, row in enumerate(rows) if row[1] == OURS),
    )


def peer_notes(peers: Mapping[str, Any]) -> tuple[str, ...]:
    """Why an engine that was asked for is not in the table."""
    return tuple(peers.get("unavailable", {}).values())


def _rows(setting: Mapping[str, Any], engines: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    seconds = {name: taken["seconds"] for name, taken in setting["interleaved"].items()}
    tokens = f", {setting['tokens']} tokens" if setting["tokens"] else ""
    for name, taken in seconds.items():
        faster = "" if name == OURS else format_ratio(compare(seconds, baseline=name, candidate=OURS))
        version = str(engines[name]["version"])
        yield f"batch {setting['batch']}{tokens}", name, version, format_milliseconds(median(taken)), faster
