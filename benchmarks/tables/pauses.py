"""What a pause before a run costs, with free and with pinned threads."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tables.markdown import Table

from platon_compress.measure.timing import percentiles

__all__ = ["pause_tables"]


def pause_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], Table]]:
    """Each result and its table: a row for each side, a column for each pause; median in ms and 90th percentile."""
    for entry in results.values():
        if entry["kind"] == "pauses":
            rows = entry["pauses"]
            head = ("model, threads", *(f"after {row['pause_ms']} ms" for row in rows))
            sides = rows[0]["seconds"]
            yield (
                entry,
                Table(head, 1, [(side, *(_cell(row["seconds"][side]) for row in rows)) for side in sides]),
            )


def _cell(seconds: Sequence[float]) -> str:
    found = percentiles(seconds)
    return f"{found['p50_seconds'] * 1e3:.1f} ({found['p90_seconds'] * 1e3:.1f})"
