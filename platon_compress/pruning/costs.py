"""Ranking by score per millisecond: what a weight costs at run time joins what it is worth.

With c_l the measured seconds per weight of the layer's shape and c the mean over all prunable weights, the score s of
a weight of layer l is ranked as

    s / (c_l / c)

A global ranking then takes first the weights that lose least for the time they give back; with equal costs it is the
plain ranking, and the threshold keeps its scale. The costs come from a cost table, see
`platon_compress.planning.weight_costs`.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_costs", "relative_costs"]

_MOST = 1e9  # seconds


def check_costs(costs: Any) -> None:
    """Raises InputError unless every cost is a number above 0."""
    if not isinstance(costs, Mapping):
        raise InputError(
            f"weight_costs maps shapes to seconds per weight, got {costs!r}; write {{'768x768': 2e-11}}"
        )
    for shape, cost in costs.items():
        if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 < cost < _MOST:
            raise InputError(
                f"weight_costs {shape!r} must be a number above 0, got {cost!r}; measure it with calibrate"
            )


def relative_costs(weights: "Mapping[str, Tensor]", costs: Mapping[str, float] | None) -> Mapping[str, float]:
    """c_l / c by parameter name; empty without costs. Biases count as the mean.

    Raises InputError when a weight's shape has no cost.
    """
    if costs is None:
        return {}
    matrices = {name: weight for name, weight in weights.items() if weight.ndim == 2}
    shapes = {name: "x".join(map(str, weight.shape)) for name, weight in matrices.items()}
    if missing := [name for name, shape in shapes.items() if shape not in costs]:
        raise InputError(
            f"weight_costs has no cost for {shapes[missing[0]]} ({missing[0]}), only for "
            f"{', '.join(sorted(costs)) or 'nothing'}; calibrate this model's shapes"
        )
    size = sum(weight.numel() for weight in matrices.values())
    mean = sum(costs[shapes[name]] * weight.numel() for name, weight in matrices.items()) / size
    return {name: costs[shape] / mean for name, shape in shapes.items()}
