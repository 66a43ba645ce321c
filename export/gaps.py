"""Codes of a few bits side by side in bytes, and the places of non-zeros as such codes (encoding `gaps_int8`).

Rules: [order] a code's lowest bit comes first, a byte's too; unused bits of the last byte are ones. [gap] a code is the
number of zeros since the last non-zero, or since the beginning, rows one behind the other. [skip] The largest code says
that so many zeros follow and no non-zero yet. Codes of one bit are thus the mask of the matrix, a 0 for every non-zero.
[value] a code of 7 bits is its value plus 63.
"""

from collections.abc import Iterable

import numpy as np

__all__ = [
    "GAP_BITS",
    "LARGEST",
    "VALUE_BITS",
    "decode_gaps",
    "encode_gaps",
    "pack",
    "pack_values",
    "unpack",
    "unpack_values",
]

LARGEST = 63  # 2 * 63 * 255 fits in 16 bits, signed
VALUE_BITS = 7
GAP_BITS = tuple(range(1, 9))


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [ceil(n * bits / 8)] of n codes below 2^bits."""
    flat = np.unpackbits(codes.astype(np.uint8)[:, None], axis=1, count=bits, bitorder="little").reshape(-1)
    unused = np.ones(-flat.size % 8, np.uint8)
    return np.packbits(np.concatenate([flat, unused]), bitorder="little")


def unpack(data: np.ndarray, bits: int) -> np.ndarray:
    """The codes uint8 that fit in `data`, made of unused bits too.

    Raises ValueError for codes of no bits or more than 8.
    """
    if bits not in GAP_BITS:
        raise ValueError(f"codes have 1 to 8 bits, got {bits}")
    flat = np.unpackbits(data, bitorder="little")
    count = flat.size // bits
    return np.packbits(flat[: count * bits].reshape(count, bits), axis=1, bitorder="little").reshape(-1)


def encode_gaps(positions: np.ndarray, bits: Iterable[int] = GAP_BITS) -> tuple[int, np.ndarray]:
    """The number of bits, one of `bits`, that takes the fewest bytes, and those bytes.

    positions: int64 [nnz], increasing, of the non-zeros in the matrix row by row.
    """
    gaps = np.diff(positions, prepend=-1) - 1
    best = min(bits, key=lambda width: _code_count(gaps, width) * width)
    skip = 2**best - 1
    skips = gaps // skip
    codes = np.full(gaps.size + int(skips.sum()), skip, np.uint8)
    codes[np.cumsum(skips + 1) - 1] = gaps % skip
    return best, pack(codes, best)


def decode_gaps(data: np.ndarray, bits: int) -> np.ndarray:
    """Positions int64 [nnz] of what `encode_gaps` wrote; nothing says whether they fit a matrix. ValueError as `unpack`."""
    codes = unpack(data, bits).astype(np.int64)
    found = codes != 2**bits - 1
    return (np.cumsum(codes + found) - 1)[found]


def pack_values(values: np.ndarray) -> np.ndarray:
    """uint8 of whole numbers from -LARGEST to LARGEST, in codes of VALUE_BITS bits."""
    return pack(values.astype(np.int16) + LARGEST, VALUE_BITS)


def unpack_values(data: np.ndarray, count: int) -> np.ndarray:
    """int8 [count] of what `pack_values` wrote."""
    return unpack(data, VALUE_BITS)[:count].astype(np.int8) - LARGEST


def _code_count(gaps: np.ndarray, bits: int) -> int:
    return gaps.size + int((gaps // (2**bits - 1)).sum())
