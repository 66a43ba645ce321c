"""A plan as table rows for the terminal."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from platon_compress.planning import LayerPlan, Plan

__all__ = ["layer_rows"]


def layer_rows(plan: "Plan") -> list[tuple[str, str, str, str, str]]:
    """Weight, density, form, expected speed-up and reason of every layer."""
    prefix = _common_prefix([layer.name for layer in plan.layers])
    return [_row(layer, prefix) for layer in plan.layers]


def _row(layer: "LayerPlan", prefix: str) -> tuple[str, str, str, str, str]:
    speedup = "-" if layer.expected_speedup is None else f"{layer.expected_speedup:.1f}x"
    name = layer.name.removeprefix(prefix).removesuffix(".weight")
    return name, f"{layer.density:.1%}", str(layer.form), speedup, layer.reason


def _common_prefix(names: list[str]) -> str:
    """The dotted path that all names share."""
    paths = [name.split(".") for name in names]
    shared = []
    for parts in zip(*paths, strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(parts[0])
    return ".".join(shared) + "." if shared else ""
