"""The weights of a file's operators as 8-bit numbers with a scale for each row.

They are stored in the encoding `gaps_int8`, or in `csr_int8` where asked for, which says the same in more bytes. Rules:
[symmetric] a row's scale is its largest size divided by 63, so that no kernel's 16-bit sums saturate, with or
without our library; [zeros] what rounds to zero is stored no more; [shared] nodes that share a weight go on sharing it.
Activations need no calibration: each row of them gets its scale when it is multiplied (docs/operator.md).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from platon_compress.errors import InputError
from platon_compress.export.functions import attach_functions, is_ours
from platon_compress.export.gaps import GAP_BITS, LARGEST, MOST_ELEMENTS, encode_gaps, pack_values
from platon_compress.export.model_file import write_model
from platon_compress.export.operators import ENCODINGS, INT8, OPERATORS, Operator, StoredWeight
from platon_compress.export.passes import _graph as g
from platon_compress.export.passes._become import become
from platon_compress.export.passes.clean import drop_unused
from platon_compress.export.reading import load_ir

__all__ = [
    "ENCODING",
    "LEAST_INT8_TOKENS",
    "attention_for",
    "gap_arrays",
    "quantize_as",
    "quantize_file",
    "quantize_file_as",
    "quantize_rows",
    "quantize_weights",
    "quantized_form",
    "rounded_operators",
]

_FROM = "csr"
LEAST_INT8_TOKENS = 64
"""From here on attention in 8 bits was measured to be faster, see docs/kernels.md."""
ENCODING = "gaps_int8"
"""What weights are stored in where nothing else is asked for."""


def attention_for(wanted: str, tokens: int) -> str:
    """What `plan.attention` means for examples of so many tokens: "auto" is "int8" where that is faster."""
    if wanted != "auto":
        return wanted
    return INT8 if tokens >= LEAST_INT8_TOKENS else "float32"


@dataclass(frozen=True)
class _Stored:
    """One weight in its new encoding; attributes by their names without prefix."""

    arrays: tuple[ir.Value, ...]
    attributes: Mapping[str, int]


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


def gap_arrays(
    values: np.ndarray,
    columns: np.ndarray,
    row_starts: np.ndarray,
    in_features: int,
    gap_bits: Iterable[int] = GAP_BITS,
) -> tuple[np.ndarray, np.ndarray, int]:
    """values and gaps, packed, and gap_bits, the best of those given, of rounded CSR arrays.

    InputError for a matrix of more elements than the encoding can say.
    """
    if (len(row_starts) - 1) * in_features > MOST_ELEMENTS:
        raise InputError(
            f"a weight of {len(row_starts) - 1} x {in_features} is too large for 8-bit values; keep it in float32"
        )
    rows = np.repeat(np.arange(len(row_starts) - 1, dtype=np.int64), np.diff(row_starts))
    bits, gaps = encode_gaps(rows * in_features + columns, gap_bits)
    return pack_values(values), gaps, bits


def quantize_weights(
    model: ir.Model,
    wanted: Callable[[ir.Node], bool] | None = None,
    *,
    encoding: str = ENCODING,
    gap_bits: Iterable[int] = GAP_BITS,
    attention: str = "float32",
) -> int:
    """Turn operators with float weights into those with 8-bit weights, in place; returns their number.

    wanted: says of every operator with float weights whether it is to be turned; None: all of them are.
    encoding: "gaps_int8", or "csr_int8" with whole columns. gap_bits: widths of a gap to choose from, weight by weight.
    attention: "int8" where self-attention, in the encoding "gaps_int8", multiplies 8-bit numbers between its weights too.
    """
    store = _Store(encoding, tuple(gap_bits), attention)
    found = [node for node in model.graph if is_ours(node) and OPERATORS[node.op_type].encoding == _FROM]
    found = [node for node in found if wanted is None or wanted(node)]
    for node in found:
        store.quantize(node)
    drop_unused(model)  # weights and functions in floats
    attach_functions(model)
    return len(found)


def quantize_file(source: str | Path, target: str | Path, **settings: Any) -> int:
    """Write the compressed file `source` with 8-bit weights to `target`; returns the number of its operators.

    settings: as `quantize_weights` takes them. InputError where `source` holds no sparse weights in floats.
    """
    model = load_ir(source)
    count = quantize_weights(model, **settings)
    if not count:
        raise InputError(
            f"{source} holds no sparse float weights to quantize; export a compressed model first"
        )
    write_model(model, Path(target))
    return count


def quantized_form(operator: Operator, encoding: str, attention: str) -> Operator:
    """What an operator with float weights becomes; encoding and attention as `quantize_weights` takes them."""
    parts = operator.parts
    if attention == INT8 and encoding == "gaps_int8" and operator.kind == "SelfAttention":
        parts = (parts[0], INT8, *parts[1:])
    return OPERATORS[replace(operator, parts=parts, encoding=encoding).name]


def quantize_as(model: ir.Model, operators: Mapping[str, Operator]) -> None:
    """Turn those operators with float weights, in place, into what `rounded_operators` found in another file."""
    kinds = {(operator.encoding, operator.int8_attention) for operator in operators.values()}
    for encoding, int8 in sorted(kinds):
        wanted = {n for n, o in operators.items() if (o.encoding, o.int8_attention) == (encoding, int8)}
        quantize_weights(
            model,
            lambda node, wanted=wanted: node.name in wanted,  # type: ignore[misc]
            encoding=encoding,
            attention=INT8 if int8 else "float32",
        )


def quantize_file_as(source: str | Path, target: str | Path, operators: Mapping[str, Operator]) -> None:
    """Write the compressed file `source` to `target` with those operators turned as `quantize_as` does, unchecked."""
    model = load_ir(source)
    quantize_as(model, operators)
    write_model(model, Path(target), check=False)


def rounded_operators(model: ir.Model) -> dict[str, Operator]:
    """Operators with 8-bit weights by their nodes' names."""
    ours = ((node, OPERATORS[node.op_type]) for node in model.graph if is_ours(node))
    return {str(node.name): operator for node, operator in ours if operator.quantized}


class _Store:
    """Rewrites nodes; what they share is made once."""

    def __init__(self, encoding: str, gap_bits: tuple[int, ...], attention: str) -> None:
        self._encoding, self._gap_bits, self._attention = encoding, gap_bits, attention
        self._made: dict[tuple[ir.Value | None, ...], _Stored] = {}

    def quantize(self, node: ir.Node) -> None:
        before = OPERATORS[node.op_type]
        after = quantized_form(before, self._encoding, self._attention)
        named = dict(zip(before.inputs, node.inputs, strict=True))
        attributes = {name: attribute.value for name, attribute in node.attributes.items()}
        for weight in before.weights:
            stored = self._stored(node, weight, tuple(named[name] for name in weight.arrays(_FROM)))
            named |= zip(weight.arrays(self._encoding), stored.arrays, strict=True)
            attributes |= {f"{weight.prefix}{name}": value for name, value in stored.attributes.items()}
        become(node, after, [named[name] for name in after.inputs], attributes)

    def _stored(self, node: ir.Node, weight: StoredWeight, floats: tuple[ir.Value | None, ...]) -> _Stored:
        """New initializers beside those in `floats`, which nobody may read any more."""
        if floats not in self._made:
            arrays = [g.constant(value) for value in floats]
            if (
                not isinstance(node.graph, ir.Graph)
                or floats[0] is None
                or any(array is None for array in arrays)
            ):
                raise TypeError("weights of an operator must be constants of the main graph")
            factor, unit = weight.columns
            in_features = factor * node.attributes[unit].as_int()
            parts, attributes = self._encoded(in_features, *arrays)  # type: ignore[arg-type]
            graph, stem = node.graph, f"{floats[0].name}.int8"
            values = tuple(g.add_constant(graph, f"{stem}.{part}", array) for part, array in parts.items())
            self._made[floats] = _Stored(values, attributes)
        return self._made[floats]

    def _encoded(
        self, in_features: int, values: np.ndarray, columns: np.ndarray, row_starts: np.ndarray
    ) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Arrays by name, in the encoding's order, and attributes."""
        values, columns, row_starts, scales = quantize_rows(values, columns, row_starts)
        if self._encoding == "csr_int8":
            arrays = (values, columns, row_starts, scales)
            return dict(zip(ENCODINGS[self._encoding], arrays, strict=True)), {}
        packed, gaps, bits = gap_arrays(values, columns, row_starts, in_features, self._gap_bits)
        return {"values": packed, "gaps": gaps, "row_scales": scales}, {"gap_bits": bits}
