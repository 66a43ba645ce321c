"""What 8-bit values change, in words: the `rounded` part of parity.json."""

from collections.abc import Mapping
from typing import Any

from platon_compress.report.points import points_apart
from platon_compress.report.words import ROUTES, UNITS
from platon_compress.scoring import Difference

__all__ = ["metric_change", "spoken_elsewhere", "spoken_rounding"]


def spoken_elsewhere(near: Mapping[str, Any]) -> str:
    """`compressed file, stock ONNX Runtime: 870 of 872 predictions the same, metric +0.0 ± 0.1 points`."""
    return f"{ROUTES.get(other_way(near), other_way(near))}: {_answers(near)}{_metric(near)}"


def spoken_rounding(near: Mapping[str, Any]) -> str:
    """What they change against the float32 form of the file."""
    return f"against float32 {_answers(near)}{_metric(near)}"


def metric_change(near: Mapping[str, Any]) -> Difference | None:
    """Of the metrics of both ways; None where nothing was scored."""
    found = near.get("metric_difference")
    return Difference(**found) if isinstance(found, Mapping) else None


def other_way(near: Mapping[str, Any]) -> str:
    """`onnx_compressed_stock` of a pair."""
    return str(near["pair"]).rpartition(" vs ")[2]


def _answers(near: Mapping[str, Any]) -> str:
    apart = f"relative error {near['relative_error']:.1e}, largest difference {near['max_abs']:.1e}"
    if not near["decisions"]:
        return (
            f"{apart}, cosine {near['cosine']:.5f}, largest scores agree for {near['argmax_agreement']:.1%}"
        )
    unit = UNITS.get(near["unit"], "units")
    same = near["decisions"] - near["changed"]
    return f"{same} of {near['decisions']} {unit} have the same answer, {apart}"


def _metric(near: Mapping[str, Any]) -> str:
    change = metric_change(near)
    return "" if change is None else f", metric {points_apart(change)}"
