"""The weights of a file's operators as 8-bit numbers with a scale for each row (encoding `csr_int8`).

Rules: [symmetric] a row's scale is its largest size divided by 63, so that no kernel's 16-bit sums saturate, with or
without our library; [zeros] what rounds to zero is stored no more; [shared] nodes that share a weight go on sharing it.
Activations need no calibration: each row of them gets its scale when it is multiplied (docs/operator.md).
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from platon_compress.errors import InputError
from platon_compress.export.functions import attach_functions, is_ours
from platon_compress.export.model_file import write_model
from platon_compress.export.operators import ENCODINGS, OPERATORS
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes.clean import drop_unused

__all__ = ["LARGEST", "quantize_file", "quantize_rows", "quantize_weights"]

LARGEST = 63  # 2 * 63 * 255 fits in 16 bits, signed
_FROM, _TO = "csr", "csr_int8"


def quantize_rows(
    values: np.ndarray, columns: np.ndarray, row_starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """CSR arrays of the rounded weight: int8 values within 63, columns, row_starts, and float32 scales [out].

    A row without values gets the scale 1. values: finite float32 or float16 [nnz].
    """
    wide = values.astype(np.float32)
    rows = np.repeat(np.arange(len(row_starts) - 1), np.diff(row_starts))
    largest = np.zeros(len(row_starts) - 1, np.float32)
    np.maximum.at(largest, rows, np.abs(wide))
    scales = (largest / np.float32(LARGEST)).astype(np.float32)
    scales[scales == 0] = 1  # no values, or too small to have a scale
    rounded = np.clip(np.rint(wide / scales[rows]), -LARGEST, LARGEST).astype(np.int8)
    kept = rounded != 0
    counts = np.bincount(rows[kept], minlength=len(scales))
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return rounded[kept], columns[kept], starts, scales


def quantize_weights(model: ir.Model, wanted: Callable[[ir.Node], bool] | None = None) -> int:
    """Turn operators with float weights into those with 8-bit weights, in place; returns their number.

    wanted: says of every operator with float weights whether it is to be turned; None: all of them are.
    """
    made: dict[tuple[ir.Value | None, ...], list[ir.Value]] = {}
    found = [node for node in model.graph if is_ours(node) and OPERATORS[node.op_type].encoding == _FROM]
    found = [node for node in found if wanted is None or wanted(node)]
    for node in found:
        _quantize(node, made)
    drop_unused(model)  # weights and functions in floats
    attach_functions(model)
    return len(found)


def quantize_file(source: str | Path, target: str | Path) -> int:
    """Write the compressed file `source` with 8-bit weights to `target`; returns the number of its operators.

    InputError where `source` holds no sparse weights in floats.
    """
    model = ir.load(source)
    count = quantize_weights(model)
    if not count:
        raise InputError(
            f"{source} holds no sparse float weights to quantize; export a compressed model first"
        )
    write_model(model, Path(target))
    return count


def _quantize(node: ir.Node, made: dict[tuple[ir.Value | None, ...], list[ir.Value]]) -> None:
    before = OPERATORS[node.op_type]
    after = OPERATORS[replace(before, encoding=_TO).name]
    named = dict(zip(before.inputs, node.inputs, strict=True))
    for weight in before.weights:
        key = tuple(named[name] for name in weight.arrays(_FROM))
        if key not in made:
            made[key] = _arrays(node, key)
        named |= zip(weight.arrays(_TO), made[key], strict=True)
    node.op_type = after.name
    node.resize_inputs(len(after.inputs))
    for place, name in enumerate(after.inputs):
        node.replace_input_with(place, named[name])


def _arrays(node: ir.Node, stored: tuple[ir.Value | None, ...]) -> list[ir.Value]:
    """New initializers beside those in `stored`, which nobody may read any more."""
    arrays = [g.constant(value) for value in stored]
    if not isinstance(node.graph, ir.Graph) or stored[0] is None or any(array is None for array in arrays):
        raise TypeError("weights of an operator must be constants of the main graph")
    graph, stem = node.graph, f"{stored[0].name}.int8"
    parts = zip(ENCODINGS[_TO], quantize_rows(*arrays), strict=True)  # type: ignore[arg-type]
    return [g.add_constant(graph, f"{stem}.{part}", array) for part, array in parts]
