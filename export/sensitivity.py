"""What each operator's 8-bit weights cost by themselves: the file before rounding against the same with that one rounded."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from platon_compress.export.operators import Operator
from platon_compress.export.outputs import distance, onnx_outputs
from platon_compress.export.quantize import quantize_file_as
from platon_compress.progress import Steps
from platon_compress.scoring import Batch, Outputs

__all__ = ["OperatorCost", "operator_costs"]


@dataclass(frozen=True, kw_only=True)
class OperatorCost:
    """relative_error: of the whole file's outputs, where this operator alone has 8-bit weights."""

    operator: str
    relative_error: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def operator_costs(
    operators: Mapping[str, Operator],
    float32: str | Path,
    batches: Sequence[Batch],
    exact: Sequence[Outputs],
    steps: Steps,
) -> tuple[OperatorCost, ...]:
    """Of every operator that has 8-bit weights in a file, the costliest first.

    operators: of `rounded_operators` of that file. float32: the file before rounding; exact: its outputs for the batches.
    steps: counts a step for each operator.
    """
    found = []
    with tempfile.TemporaryDirectory(prefix="platon-sensitivity-") as folder:
        path = Path(folder) / "one.onnx"
        for name, operator in operators.items():
            quantize_file_as(float32, path, {name: operator})
            apart = distance(exact, onnx_outputs(path, batches, use_library=True), batches)
            found.append(OperatorCost(operator=name, relative_error=apart.relative_error))
            steps.advance("8-bit operators one by one")
    return tuple(sorted(found, key=lambda cost: -cost.relative_error))
