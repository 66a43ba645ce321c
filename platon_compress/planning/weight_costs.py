"""What one weight costs at run time, by the shape of its layer: for ranking by score per millisecond."""

from collections.abc import Iterable

from platon_compress.errors import InputError
from platon_compress.planning.cost import CostTable

__all__ = ["weight_costs"]


def weight_costs(
    table: CostTable, shapes: Iterable[tuple[int, int]], *, sparsity: float, rows: int, threads: int
) -> dict[str, float]:
    """Seconds per weight of each shape [out, in], keyed "OUTxIN" as `PruneConfig.weight_costs` takes them.

    `rows` are those of the layer's input (tokens * batch). See `CostTable.seconds_per_weight`.
    Raises InputError when the table knows no layer near one of the shapes.
    """
    costs = {}
    for out_features, in_features in sorted(set(shapes)):
        seconds = table.seconds_per_weight(out_features, in_features, 1 - sparsity, rows, threads)
        if seconds is None:
            raise InputError(
                f"the cost table {table.source} tells no cost per weight of {out_features}x{in_features} with "
                f"{rows} rows and {threads} threads; measure it: `platon-compress calibrate -o table.json --shapes "
                f"{out_features}x{in_features} --tokens {rows} --threads {threads}`, for plan.cost_table"
            )
        costs[f"{out_features}x{in_features}"] = seconds
    return costs
