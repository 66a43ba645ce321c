"""How a sparse matrix lies in a file: its values, row by row, and where they belong, in the smaller of two codes.

1. `bitmask`: one bit an entry, the first entry in the lowest bit; bits past the end are zero.
2. `gaps`: one byte for the entries skipped before each value; 255 skips 255 entries and holds no value. The end of
   the matrix is coded like a value, so that the bytes account for every entry: what is decoded can be at most 255
   times as many entries as there are bytes.

Positions count the entries of [out_features, in_features] row by row. Nothing read from a file is trusted.
"""

import numpy as np

from platon_compress.errors import InputError
from platon_compress.formats.csr import CsrWeight, column_type

__all__ = ["ENCODINGS", "csr_of", "decode_positions", "encode_positions", "encoded_bytes"]

ENCODINGS = ("bitmask", "gaps")
_ESCAPE = 255
_CURE = "save the model again with save_compressed"


def encoded_bytes(nnz: int, size: int) -> int:
    """How many bytes the positions of `nnz` values among `size` entries take at most in the smaller code, less one."""
    return min(-(-size // 8), nnz + (size - nnz) // _ESCAPE)


def encode_positions(positions: np.ndarray, size: int) -> tuple[str, np.ndarray]:
    """The smaller code of increasing positions int64 [nnz] below `size`: its name, and its bytes uint8 [n]."""
    gaps = np.diff(positions, prepend=-1, append=size) - 1
    escapes = gaps // _ESCAPE
    if gaps.size + int(escapes.sum()) >= -(-size // 8):
        mask = np.zeros(size, dtype=bool)
        mask[positions] = True
        return "bitmask", np.packbits(mask, bitorder="little")
    codes = np.full(gaps.size + int(escapes.sum()), _ESCAPE, dtype=np.uint8)
    codes[np.cumsum(escapes + 1) - 1] = gaps % _ESCAPE
    return "gaps", codes


def decode_positions(encoding: str, codes: np.ndarray, size: int, nnz: int) -> np.ndarray:
    """Increasing positions int64 [nnz] below `size`.

    Raises:
        InputError: an unknown code, or bytes that do not account for exactly `nnz` values among `size` entries.
    """
    if encoding not in ENCODINGS:
        raise InputError(f"the encoding is {encoding!r}, not one of {', '.join(ENCODINGS)}; {_CURE}")
    if codes.dtype != np.uint8 or codes.ndim != 1:
        raise InputError(f"a code is bytes in one dimension, got {codes.dtype} {list(codes.shape)}; {_CURE}")
    positions = (_from_bitmask if encoding == "bitmask" else _from_gaps)(codes, size)
    if positions.size != nnz:
        raise InputError(f"the {encoding} place {positions.size} values, the file holds {nnz}; {_CURE}")
    return positions


def csr_of(positions: np.ndarray, values: np.ndarray, shape: tuple[int, int]) -> CsrWeight:
    """The CSR arrays of `values` at increasing `positions` below out_features * in_features."""
    out_features, in_features = shape
    row_starts = np.searchsorted(positions, np.arange(out_features + 1) * in_features)
    columns = positions - np.repeat(np.arange(out_features) * in_features, np.diff(row_starts))
    return CsrWeight(
        values=np.ascontiguousarray(values, dtype=np.float32),
        columns=columns.astype(column_type(in_features)),
        row_starts=row_starts.astype(np.int32),
        out_features=out_features,
        in_features=in_features,
    )


def _from_bitmask(codes: np.ndarray, size: int) -> np.ndarray:
    if codes.size != -(-size // 8):
        raise InputError(f"a bitmask of {size} entries has {-(-size // 8)} bytes, got {codes.size}; {_CURE}")
    if size % 8 and int(codes[-1]) >> size % 8:
        raise InputError(f"the bitmask marks values beyond its {size} entries; {_CURE}")
    return np.flatnonzero(np.unpackbits(codes, count=size, bitorder="little"))


def _from_gaps(codes: np.ndarray, size: int) -> np.ndarray:
    is_value = codes != _ESCAPE
    # Each byte advances by at most 255 entries: the steps fit a byte, and their sum cannot overflow 64 bits.
    ends = np.cumsum(codes + is_value, dtype=np.int64)
    if not codes.size or not is_value[-1] or int(ends[-1]) != size + 1:
        covered = int(ends[-1]) - 1 if codes.size else 0
        raise InputError(f"the gaps cover {covered} entries, the matrix has {size}; {_CURE}")
    ends -= 1
    return (ends if bool(is_value.all()) else ends[is_value])[:-1]
