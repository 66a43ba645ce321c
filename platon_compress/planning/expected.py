"""Seconds of a model's linear layers as the cost table expects them, without a model that holds the zeros."""

from collections.abc import Iterable

from platon_compress.errors import InputError
from platon_compress.planning.config import PlanConfig
from platon_compress.planning.cost import CostEstimate, CostTable
from platon_compress.planning.layers import FLOAT32, INT8

__all__ = ["Layer", "dense_seconds", "sparse_seconds"]

Layer = tuple[tuple[int, int], float]
"""Shape [out_features, in_features] and density of a weight."""


def dense_seconds(layers: Iterable[Layer], config: PlanConfig, table: CostTable) -> float:
    """Of dense layers of which the share `density` of the rows or columns is left.

    Raises InputError when the table knows nothing of a shape.
    """
    return sum(density * _known(shape, config, table).dense_seconds for shape, density in layers)


def sparse_seconds(layers: Iterable[Layer], config: PlanConfig, table: CostTable) -> float:
    """Of the same layers with zeros in them: CSR where the plan would take it, with the values of `config`, else dense.

    Raises InputError when the table knows nothing of a shape.
    """
    return sum(_fastest(shape, density, config, table) for shape, density in layers)


def _fastest(shape: tuple[int, int], density: float, config: PlanConfig, table: CostTable) -> float:
    dense = _known(shape, config, table).dense_seconds
    found = table.estimate(*shape, density, config.rows, config.used_threads)
    if found is None:
        return dense
    allowed = (FLOAT32, INT8) if config.values == "auto" else (config.values,)
    sparse = min(found.csr_seconds_with(values) for values in allowed)
    return sparse if dense / sparse >= config.min_speedup else dense


def _known(shape: tuple[int, int], config: PlanConfig, table: CostTable) -> CostEstimate:
    """The table's answer for the dense layer."""
    found = table.estimate(*shape, 0.0, config.rows, config.used_threads)
    if found is None:
        size = f"{shape[0]}x{shape[1]}"
        raise InputError(
            f"the cost table {table.source} has nothing near {size} at {config.rows} rows and {config.used_threads} "
            f"threads; measure it with `platon-compress calibrate --shapes {size} --tokens {config.rows}`"
        )
    return found
