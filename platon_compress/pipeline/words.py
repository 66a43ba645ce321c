"""How figures of a run are said while it goes."""

from collections.abc import Mapping, Sequence
from typing import Any

from platon_compress.report.words import metric_figure, metric_name

__all__ = ["spoken_classes", "spoken_factors", "spoken_result"]


def spoken_result(entry: Mapping[str, Any], task: str) -> str:
    """`accuracy 86.02% +- 1.17% (standard error)`, `entity F1 55.10 +- 1.20 (standard error)` of a stage's entry."""
    name = entry["metric"]
    value, error = (metric_figure(name, entry[key], 2) for key in ("value", "standard_error"))
    return f"{metric_name(name, task)} {value} +- {error} (standard error)"


def spoken_classes(names: Sequence[str]) -> str:
    """`3 classes, ` in the middle of a line; nothing for a task without classes."""
    return f"{len(names)} classes, " if names else ""


def spoken_factors(equalised: Sequence[Mapping[str, Any]]) -> str:
    """What factors of features, of an export's result, gain."""
    before, after = (sum(each[key] for each in equalised) / len(equalised) for key in ("before", "after"))
    beside = sum(not each["folded"] for each in equalised)
    more = f", {beside} with an extra multiplication" if beside else ""
    return (
        f"features after {len(equalised)} norms are scaled for 8 bits{more}: relative error of the following layers "
        f"{before:.4f} -> {after:.4f}"
    )
