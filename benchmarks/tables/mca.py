"""What llvm-mca estimates of the kernels' innermost loops."""

from collections.abc import Iterator, Mapping
from typing import Any

from tables.markdown import Table

from platon_compress.report.words import NONE

__all__ = ["mca_tables"]


def mca_tables(results: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    """A table for each result: a row for each kernel, a column for each processor; cycles."""
    for entry in results.values():
        if entry["kind"] == "mca":
            cycles = {(row["kernel"], row["processor"]): f"{row['cycles']:.1f}" for row in entry["rows"]}
            kernels, processors = (tuple(dict.fromkeys(key[i] for key in cycles)) for i in (0, 1))
            rows = [(name, *(cycles.get((name, cpu), NONE) for cpu in processors)) for name in kernels]
            yield Table(("kernel", *processors), 1, rows)
