"""How figures of a run are said while it goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from platon_compress.report.words import metric_name

__all__ = ["spoken_classes", "spoken_result"]


def spoken_result(entry: Mapping[str, Any]) -> str:
    """`accuracy 86.02% +- 1.17% (standard error)` of a stage's entry."""
    name = metric_name(entry["metric"])
    return f"{name} {entry['value']:.2%} +- {entry['standard_error']:.2%} (standard error)"


def spoken_classes(names: Sequence[str]) -> str:
    """`3 classes, ` in the middle of a line; nothing for a task without classes."""
    return f"{len(names)} classes, " if names else ""
