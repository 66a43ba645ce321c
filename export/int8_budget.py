"""Which operators keep float weights, so that 8-bit ones change a file's outputs by no more than was allowed.

Rules: [alone] every operator is measured with its own weights rounded, nothing else; errors add as squares, and the
costliest stay in floats until the rest is expected to be within the budget; [together] the rest is then measured as it is,
and more stay until it is.
"""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx_ir as ir

from platon_compress.export.model_file import write_model
from platon_compress.export.operators import Operator
from platon_compress.export.outputs import distance, onnx_outputs
from platon_compress.export.quantize import quantize_file_as
from platon_compress.export.sensitivity import OperatorCost, operator_costs
from platon_compress.progress import Steps
from platon_compress.scoring import Batch

__all__ = ["over_budget"]


def over_budget(
    model: ir.Model, operators: Mapping[str, Operator], budget: float, batches: Sequence[Batch]
) -> dict[str, str]:
    """Operators that keep floats, each with the reason, the costliest first.

    model: with float weights everywhere; it stays as it is. operators: what nodes are to become, by their
    names. budget: relative error of the outputs. batches: inputs of the model by name.
    """
    with tempfile.TemporaryDirectory(prefix="platon-budget-") as folder:
        path = Path(folder) / "float32.onnx"
        write_model(model, path, check=False)
        exact = onnx_outputs(path, batches, use_library=True)
        steps = Steps(len(operators), None)
        costs = operator_costs(operators, path, batches, exact, steps)
        for count in range(_expected(costs, budget), len(costs)):
            rest = {cost.operator: operators[cost.operator] for cost in costs[count:]}
            rounded = Path(folder) / "rounded.onnx"
            quantize_file_as(path, rounded, rest)
            apart = distance(exact, onnx_outputs(rounded, batches, use_library=True), batches)
            if apart.relative_error <= budget:
                return dict(_reasons(costs[:count], budget))
    return dict(_reasons(costs, budget))


def _expected(costs: Sequence[OperatorCost], budget: float) -> int:
    """How many of the costliest must go until the squares of the rest are within the budget's."""
    left = [cost.relative_error for cost in costs]
    return next(count for count in range(len(left) + 1) if math.hypot(*left[count:]) <= budget)


def _reasons(costs: Sequence[OperatorCost], budget: float) -> Iterator[tuple[str, str]]:
    for cost in costs:
        alone = f"8-bit values of it alone change the outputs by {cost.relative_error:.2%}"
        yield cost.operator, f"it keeps float32 values, {alone}, and all are allowed {budget:.2%} together"
