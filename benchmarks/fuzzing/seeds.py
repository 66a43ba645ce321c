"""First inputs of the native targets: real layers, encoded as files hold them, in the layout that each target reads.

The layouts are those of native/packing.cpp, native/attention.cpp and native/creation.cpp; everything is little-endian.
"""

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from platon_compress.export.operators import OPERATORS, Operator
from platon_compress.export.quantize import gap_arrays, quantize_rows
from platon_compress.formats.csr import CsrWeight
from platon_compress.measure.random_masks import random_mask

__all__ = ["SEEDS", "write_seeds"]

_TYPES = {np.float32: 1, np.uint8: 2, np.int8: 3, np.uint16: 4, np.int32: 6, np.int64: 7, np.float16: 10}
_ATTRIBUTES = (
    "in_features", "out_features", "inner_features", "num_heads", "score_scale", "epsilon", "prenorm_epsilon",
    "gap_bits", "inner_gap_bits", "qkv_gap_bits",
)  # fmt: skip
# (rows, columns, density, rows of a block): below, at and above tiles, chunks and column blocks, and empty.
_LAYERS = (
    (1, 1, 1.0, 1), (8, 16, 0.5, 1), (9, 70, 0.1, 1), (5, 300, 0.2, 1), (8, 520, 0.3, 4), (8, 150, 0.9, 4),
    (600, 40, 0.02, 1), (130, 30, 0.3, 4), (7, 1200, 0.05, 1), (4, 9, 0.0, 1), (12, 280, 0.35, 4), (40, 24, 1.0, 1),
)  # fmt: skip
_TOKENS = (1, 7, 8, 9, 33, 64, 70, 130)
_SIZES = {"in_features": 8, "inner_features": 12, "out_features": 8, "num_heads": 2}


def write_seeds(target: str, folder: Path) -> int:
    """Write the seeds of a native target, one file each; returns their number."""
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    for count, content in enumerate(SEEDS[target](), 1):
        (folder / f"seed-{count:04}").write_bytes(content)
    return count


def _layer(rng: np.random.Generator, rows: int, columns: int, density: float, block: int) -> CsrWeight:
    weight = rng.standard_normal((rows, columns)) * random_mask(rng, (rows, columns), density, block)
    return CsrWeight.from_dense(weight.astype(np.float32))


def _stored(csr: CsrWeight, encoding: str, *, half: bool = False) -> tuple[dict[str, np.ndarray], int]:
    """The arrays of a weight in an encoding, and its gap_bits (0: it has none)."""
    if encoding == "csr":
        values = csr.values.astype(np.float16 if half else np.float32)
        return {"values": values, "columns": csr.columns, "row_starts": csr.row_starts}, 0
    values, columns, starts, scales = quantize_rows(csr.values, csr.columns, csr.row_starts)
    if encoding == "csr_int8":
        return {"values": values, "columns": columns, "row_starts": starts, "row_scales": scales}, 0
    packed, gaps, bits = gap_arrays(values, columns, starts, csr.in_features)
    return {"values": packed, "gaps": gaps, "row_scales": scales}, bits


def _packing() -> Iterator[bytes]:
    rng = np.random.default_rng(1)
    for number, shape in enumerate(_LAYERS * 8):
        csr = _layer(rng, *shape)
        for place, encoding in enumerate(("csr", "csr_int8", "gaps_int8")):
            arrays, bits = _stored(csr, encoding)
            header = (place, *_packing_options(number), _TOKENS[number % 8], number % 3, bits)
            yield struct.pack("<BBBBBbii", *header, csr.in_features, csr.out_features) + _packed(arrays)


def _packing_options(number: int) -> tuple[int, int]:
    """The bytes `options` and `sides` of the layer of that number; columns are narrow."""
    activation = number % 5 % 4
    bias, norm, sums, prenorm = (number >> i & 1 for i in range(4))
    residual = number >> 4 & 1 if not activation else 0
    options = bias << 1 | activation << 2 | residual << 4 | (norm and not activation) << 5 | sums << 6
    sides = number * 7 % 16 | (number % 11 == 0) << 4 | (number % 23 == 5) << 5
    return options | (prenorm and not sides & 1) << 7, sides


def _packed(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Counts of values, of columns or gaps, of row_starts and of row_scales; then the arrays."""
    places = arrays.get("gaps", arrays.get("columns"))
    empty = np.zeros(0, np.float32)
    order = (arrays.get("row_starts", empty), places, arrays["values"], arrays.get("row_scales", empty))
    counts = (arrays["values"], places, order[0], order[3])
    data = b"".join(array.tobytes() for array in order if array is not None)
    return struct.pack("<4H", *(0 if array is None else array.size for array in counts)) + data


def _attention() -> Iterator[bytes]:
    rng = np.random.default_rng(2)
    lengths = ((1,), (7, 9), (40,), (130,), (5, 0, 33, 64), (16, 16), (97,))
    for number in range(320):
        some = lengths[number % len(lengths)]
        options = number % 32 | (number % 13 == 0) << 5
        header = (options, number % 3, number // 32 % 16, number % 4, number * 5 % 70, number * 3 % 40, 16)
        yield (
            struct.pack(f"<6Bb{1 + len(some)}B", *header, len(some) - 1, *some)
            + rng.integers(-128, 128, 64).astype(np.int8).tobytes()
        )


def _creation() -> Iterator[bytes]:
    rng = np.random.default_rng(3)
    for number, operator in enumerate(OPERATORS.values()):
        for half in (False, True):
            tokens = (3, 9)[(number + half) % 2]
            inputs, attributes = _node(rng, operator, tokens, half=half)
            yield struct.pack("<HBB", number, number % 3, 0) + _attributes(attributes) + b"".join(inputs)


def _node(
    rng: np.random.Generator, operator: Operator, tokens: int, *, half: bool
) -> tuple[list[bytes], dict[str, int | float]]:
    """Inputs and attributes of a node that is fine."""
    attributes: dict[str, int | float] = {
        name: _SIZES[name] for name, _ in operator.attributes if name in _SIZES
    }
    arrays: dict[str, np.ndarray] = {}
    for weight in operator.weights:
        rows, columns = (factor * _SIZES[unit] for factor, unit in (weight.rows, weight.columns))
        stored, bits = _stored(_layer(rng, rows, columns, 0.4, 1), operator.encoding, half=half)
        arrays |= {weight.prefix + name: array for name, array in stored.items()}
        arrays[f"{weight.prefix}bias"] = rng.standard_normal(rows).astype(np.float32)
        attributes |= dict.fromkeys(weight.attributes(operator.encoding), bits)
    for name, kind in operator.attributes:
        if kind == "float":
            attributes[name] = 1e-5 if name.endswith("epsilon") else 0.25
    arrays |= _activations(rng, operator, tokens)
    for name in operator.inputs:
        arrays.setdefault(name, rng.standard_normal(_SIZES["out_features"]).astype(np.float32))
    return [_value(arrays[name], name in operator.activations) for name in operator.inputs], attributes


def _activations(rng: np.random.Generator, operator: Operator, tokens: int) -> dict[str, np.ndarray]:
    batch = 1 if "lengths" in operator.parts else 2
    shapes: dict[str, tuple[int, ...]] = {
        "X": (batch, tokens, 8), "QKV": (batch, tokens, 24), "Q": (batch, tokens, 8), "K": (batch, tokens, 8),
        "V": (batch, tokens, 12), "residual": (batch, tokens, 8), "mask": (batch, 1, 1, tokens),
    }  # fmt: skip
    found = {name: rng.standard_normal(shapes[name]) for name in operator.activations if name in shapes}
    result = {name: array.astype(np.float32) for name, array in found.items()}
    if "lengths" in operator.activations:
        result["lengths"] = np.array([1, tokens - 1], np.int64)
    return result


def _attributes(attributes: Mapping[str, int | float]) -> bytes:
    parts = [bytes([len(attributes)])]
    for name, value in attributes.items():
        whole = isinstance(value, int)
        parts.append(struct.pack("<BBq" if whole else "<BBf", _ATTRIBUTES.index(name), not whole, value))
    return b"".join(parts)


def _value(array: np.ndarray, computed: bool) -> bytes:
    head = struct.pack(f"<BBB{array.ndim}H", 2 * computed, _TYPES[array.dtype.type], array.ndim, *array.shape)
    return head + array.tobytes()


SEEDS = {"packing": _packing, "creation": _creation, "attention": _attention}
"""By target: what makes its seeds."""
