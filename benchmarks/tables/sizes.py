"""What one model takes on disk, form by form."""

from collections.abc import Iterator, Mapping
from typing import Any

from tables.markdown import Table

__all__ = ["size_tables"]

_EMBEDDINGS = {"float32": "float32", "float16": "float16", "int8": "8 bits"}


def size_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """A table for each result: a row for each form, a column for each share of zeros, in MB (10^6 bytes)."""
    for entry in results.values():
        if entry["kind"] == "sizes":
            yield _table(entry)


def _table(entry: Mapping[str, Any]) -> Table:
    found: dict[tuple[str, str], dict[float, int]] = {}
    for row in entry["rows"]:
        found.setdefault((row["form"], row["embeddings"]), {})[row["sparsity"]] = row["bytes"]
    zeros = sorted({row["sparsity"] for row in entry["rows"]})
    head = (f"{entry['model']}, MB", "embeddings", *(f"{sparsity:.0%} zeros" for sparsity in zeros))
    rows = [
        (form, _EMBEDDINGS[embeddings], *(f"{sizes[sparsity] / 1e6:.1f}" for sparsity in zeros))
        for (form, embeddings), sizes in found.items()
    ]
    return Table(head, 2, rows)
