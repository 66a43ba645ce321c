"""Comparisons with other engines as one table: a row per model, sparsity and setting, a column per engine."""

from collections.abc import Iterable, Mapping
from typing import Any

from peers import OURS

__all__ = ["PEER_NOTE", "missing_peers", "peer_rows"]

PEER_NOTE = (
    "Speed of the compressed model over each engine: in turn / alone in a process / four workers at once, or only in "
    'turn. A peer runs the dense model, DeepSparse the pruned one. "No verdict" where the ways disagree in sign, "?" '
    "where the pairs show no difference."
)


def peer_rows(entries: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """(head, rows); each cell holds the ways of benchmarks/peers.py, "-" where not measured."""
    rows: list[tuple[tuple[str, ...], dict[str, str]]] = []
    for entry in entries:
        for setting in entry["settings"]:
            tokens = f", {setting['tokens']} tokens" if setting["tokens"] else ""
            sparsity = entry.get("sparsity")
            first = (
                str(entry.get("title", "")),
                "" if sparsity is None else f"{sparsity:.0%}",
                f"batch {setting['batch']}{tokens}",
            )
            ours = [c for c in setting["comparisons"] if c["candidate"] == OURS]
            rows.append((first, {c["baseline"]: _cell(c) for c in ours}))
    engines = list(dict.fromkeys(engine for _, cells in rows for engine in cells))
    head = ("compressed model", "sparsity", "setting", *(f"vs {engine}" for engine in engines))
    return head, [(*first, *(cells.get(engine, "-") for engine in engines)) for first, cells in rows]


def missing_peers(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why peers that no result holds were not measured."""
    entries = list(entries)
    measured = {c["baseline"] for e in entries for setting in e["settings"] for c in setting["comparisons"]}
    absent = (item for entry in entries for item in entry["unavailable"].items())
    return list(dict.fromkeys(line for name, line in absent if name not in measured))


def _cell(comparison: Mapping[str, Any]) -> str:
    ways = (comparison["interleaved"]["median"], comparison["isolated"], comparison["concurrent"])
    says = {"disagree": " (no verdict)", "undecided": " (?)"}.get(comparison["statement"], "")
    return " / ".join(f"{ratio:.2f}x" for ratio in ways if ratio is not None) + says
