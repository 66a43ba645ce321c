"""What each operator's 8-bit weights cost by themselves: the file before rounding against the same with that one rounded."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx_ir as ir

from platon_compress.export.functions import is_ours
from platon_compress.export.model_file import write_model
from platon_compress.export.operators import OPERATORS
from platon_compress.export.outputs import onnx_outputs, relative_error
from platon_compress.export.quantize import quantize_weights
from platon_compress.progress import Steps
from platon_compress.scoring import Batch

__all__ = ["OperatorCost", "operator_costs", "rounded_operators"]


@dataclass(frozen=True, kw_only=True)
class OperatorCost:
    """relative_error: of the whole file's outputs, where this operator alone has 8-bit weights."""

    operator: str
    relative_error: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return asdict(self)


def rounded_operators(path: str | Path) -> dict[str, str]:
    """Names of the operators with 8-bit weights in a file, each with their encoding."""
    graph = ir.load(path).graph
    ours = ((node, OPERATORS[node.op_type]) for node in graph if is_ours(node))
    return {str(node.name): operator.encoding for node, operator in ours if operator.quantized}


def operator_costs(
    path: str | Path, float32: str | Path, batches: Sequence[Batch], steps: Steps
) -> tuple[OperatorCost, ...]:
    """Of every operator of the file at `path` that has 8-bit weights, the costliest first.

    float32: the file before rounding. steps: counts a step for each operator.
    """
    exact = onnx_outputs(float32, batches, use_library=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="platon-sensitivity-") as folder:
        for name, one in _rounded_one_by_one(path, float32, Path(folder)):
            error = relative_error(onnx_outputs(one, batches, use_library=True), exact, batches)
            found.append(OperatorCost(operator=name, relative_error=error))
            steps.advance("8-bit operators one by one")
    return tuple(sorted(found, key=lambda cost: -cost.relative_error))


def _rounded_one_by_one(path: str | Path, float32: str | Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """(operator, the file in which only it is rounded); each file stands until the next one."""
    for name, encoding in rounded_operators(path).items():
        model = ir.load(float32)
        quantize_weights(model, lambda node, name=name: node.name == name, encoding=encoding)  # type: ignore[misc]
        write_model(model, folder / "one.onnx", check=False)
        yield name, folder / "one.onnx"
