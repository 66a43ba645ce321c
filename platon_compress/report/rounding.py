"""What is proved of 8-bit values and what they change, in words: the `rounded` part of parity.json."""

from collections.abc import Iterator, Mapping
from typing import Any

from platon_compress.report.points import points_apart
from platon_compress.report.words import UNITS, WAYS, route_name
from platon_compress.scoring import Difference

__all__ = [
    "metric_change",
    "rounding_failures",
    "spoken_cost",
    "spoken_operators",
    "spoken_rounding",
    "spoken_way",
]


def rounding_failures(rounded: Mapping[str, Any]) -> Iterator[str]:
    """Why a file with 8-bit values is not right, worst first; nothing where it is, or where there is none."""
    if not rounded:
        return
    if not rounded["exact"]:
        yield "the file is not the exact rounding of its float32 form"
    for check in rounded["operators"]:
        if not check["passed"]:
            yield f"an operator gives different results: {spoken_operators(check)}"
    other = rounded["elsewhere"]
    if not other["passed"]:
        least = (
            f"{rounded['least_agreement']:.1%} alike"
            if other["decisions"]
            else f"cosine {rounded['least_cosine']}"
        )
        yield f"the answers differ in {spoken_way(other)}; required: {least}"


def spoken_operators(check: Mapping[str, Any]) -> str:
    """`12 8-bit operators in isolation, stock ONNX Runtime: relative error at most 1.7e-05 (the worst)`."""
    return (
        f"{check['nodes']} 8-bit operators in isolation, {WAYS.get(check['way'], check['way'])}: relative error at most "
        f"{check['relative_error']:.1e} ({check['worst']})"
    )


def spoken_way(near: Mapping[str, Any]) -> str:
    """`compressed file, stock ONNX Runtime: 870 of 872 examples have the same answer, ...`."""
    return f"{route_name(near['pair'])}: {_answers(near)}{_metric(near)}"


def spoken_rounding(near: Mapping[str, Any]) -> str:
    """What they change against the float32 form of the file."""
    return f"against float32, {_answers(near)}{_metric(near)}"


def spoken_cost(cost: Mapping[str, Any]) -> str:
    """What one operator's 8-bit weights cost by themselves."""
    return f"8-bit values in {cost['operator']} alone: relative error {cost['relative_error']:.1e}"


def metric_change(near: Mapping[str, Any]) -> Difference | None:
    """Of the metrics of both ways; None where nothing was scored."""
    found = near.get("metric_difference")
    return Difference(**found) if isinstance(found, Mapping) else None


def _answers(near: Mapping[str, Any]) -> str:
    apart = f"relative error {near['relative_error']:.1e}, largest difference {near['max_abs']:.1e}"
    if not near["decisions"]:
        return f"{apart}, cosine {near['cosine']:.5f}, top scores agree for {near['argmax_agreement']:.1%}"
    unit = UNITS.get(near["unit"], "units")
    same = near["decisions"] - near["changed"]
    return f"{same} of {near['decisions']} {unit} have the same answer, {apart}"


def _metric(near: Mapping[str, Any]) -> str:
    change = metric_change(near)
    return "" if change is None else f", metric {points_apart(change)}"
