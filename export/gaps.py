"""Codes of a few bits side by side in bytes, and the places of non-zeros as such codes (encoding `gaps_int8`).

Rules: [order] a code's lowest bit comes first, a byte's too; zeros fill the last group of eight. [gap] a code is how far
the next non-zero is from the last one, rows one behind the other: 1 is the next place. [skip] 0 stands for as many zeros as
the largest code, and no non-zero yet. Codes of one bit are thus the mask of the matrix. [value] a code of 7 bits is its
value plus 64.
"""

from collections.abc import Iterable

import numpy as np

__all__ = [
    "GAP_BITS",
    "LARGEST",
    "MOST_ELEMENTS",
    "VALUE_BITS",
    "decode_gaps",
    "encode_gaps",
    "pack",
    "pack_values",
    "unpack",
    "unpack_values",
]

LARGEST = 63  # 2 * 63 * 255 fits in 16 bits, signed
MOST_ELEMENTS = 2**31 - 2048  # of a matrix: places fit in 32 bits, those that skips lead to behind it too
VALUE_BITS = 7
GAP_BITS = tuple(range(1, 9))
_OFFSET = LARGEST + 1
_GROUP = 8


def pack(codes: np.ndarray, bits: int) -> np.ndarray:
    """uint8 [ceil(n / 8) * bits] of n codes below 2^bits."""
    filled = np.concatenate([codes.astype(np.uint8), np.zeros(-codes.size % _GROUP, np.uint8)])
    return np.packbits(
        np.unpackbits(filled[:, None], axis=1, count=bits, bitorder="little"), bitorder="little"
    )


def unpack(data: np.ndarray, bits: int) -> np.ndarray:
    """The codes uint8 in `data`, those that fill the last group too.

    Raises ValueError for codes of no bits or more than 8, and for a part of a group.
    """
    if bits not in GAP_BITS:
        raise ValueError(f"codes have 1 to 8 bits, got {bits}")
    if data.size % bits:
        raise ValueError(f"{data.size} bytes are no whole groups of eight codes of {bits} bits")
    columns = np.unpackbits(data, bitorder="little").reshape(-1, bits)
    return np.packbits(columns, axis=1, bitorder="little").reshape(-1)


def encode_gaps(positions: np.ndarray, bits: Iterable[int] = GAP_BITS) -> tuple[int, np.ndarray]:
    """The number of bits, one of `bits`, that takes the fewest bytes, and those bytes.

    positions: int64 [nnz], increasing, of the non-zeros in the matrix row by row.
    """
    gaps = np.diff(positions, prepend=-1) - 1
    best = min(bits, key=lambda width: _code_count(gaps, width) * width)
    skip = 2**best - 1
    skips = gaps // skip
    codes = np.zeros(gaps.size + int(skips.sum()), np.uint8)
    codes[np.cumsum(skips + 1) - 1] = gaps % skip + 1
    return best, pack(codes, best)


def decode_gaps(data: np.ndarray, bits: int) -> np.ndarray:
    """Positions int64 [nnz] of what `encode_gaps` wrote; nothing says whether they fit a matrix. ValueError as `unpack`."""
    codes = unpack(data, bits).astype(np.int64)
    found = codes != 0
    return (np.cumsum(np.where(found, codes, 2**bits - 1)) - 1)[found]


def pack_values(values: np.ndarray) -> np.ndarray:
    """uint8 of whole numbers from -LARGEST to LARGEST, in codes of VALUE_BITS bits."""
    return pack(values.astype(np.int16) + _OFFSET, VALUE_BITS)


def unpack_values(data: np.ndarray, count: int) -> np.ndarray:
    """int8 [count] of what `pack_values` wrote."""
    return unpack(data, VALUE_BITS)[:count].astype(np.int8) - np.int8(_OFFSET)


def _code_count(gaps: np.ndarray, bits: int) -> int:
    return gaps.size + int((gaps // (2**bits - 1)).sum())
