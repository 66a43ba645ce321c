"""Positions of sparse values in bytes: what is written is read, and nothing else is believed."""

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.formats.storage import csr_of, decode_positions, encode_positions, encoded_bytes

_PLACES = {
    "none": [],
    "first": [0],
    "last": [9999],
    "both ends": [0, 9999],
    "all": range(10_000),
    "below, at and above an escape": [254, 254 + 255, 254 + 255 + 256, 254 + 255 + 256 + 257],
    "two escapes": [510, 510 + 511],
    "every tenth": range(3, 10_000, 10),
    "every fourth": range(0, 10_000, 4),
}


@pytest.mark.parametrize("name", _PLACES)
@pytest.mark.parametrize("size", [10_000, 10_003])
def test_what_is_written_is_read(name, size):
    positions = np.array(_PLACES[name], dtype=np.int64)
    encoding, codes = encode_positions(positions, size)
    assert np.array_equal(decode_positions(encoding, codes, size, positions.size), positions)
    assert codes.size <= encoded_bytes(positions.size, size) + 1


@pytest.mark.parametrize(
    ("density", "encoding"), [(0.05, "gaps"), (0.1, "gaps"), (0.15, "bitmask"), (0.9, "bitmask")]
)
def test_the_smaller_code_is_taken(density, encoding):
    mask = np.random.default_rng(1).random(200_000) < density
    got, codes = encode_positions(np.flatnonzero(mask), mask.size)
    assert got == encoding
    assert codes.size <= min(mask.size // 8, np.count_nonzero(mask) * 1.01 + 1)
    assert np.array_equal(
        decode_positions(got, codes, mask.size, np.count_nonzero(mask)), np.flatnonzero(mask)
    )


@pytest.mark.parametrize(
    ("encoding", "codes", "size", "nnz", "message"),
    [
        ("runs", [1], 8, 1, "the encoding is 'runs'"),
        ("gaps", [0, 3], 8, 1, "the gaps cover 4 entries, the matrix has 8"),
        ("gaps", [0, 9], 8, 1, "the gaps cover 10 entries, the matrix has 8"),
        ("gaps", [], 8, 0, "the gaps cover 0 entries"),
        ("gaps", [255, 255], 510, 0, "the gaps cover 509 entries"),
        ("gaps", [0, 7], 8, 5, "the gaps place 1 values, the file holds 5"),
        ("bitmask", [1, 0], 8, 1, "a bitmask of 8 entries has 1 bytes, got 2"),
        ("bitmask", [0, 8], 11, 1, "marks values beyond its 11 entries"),
        ("bitmask", [7], 8, 2, "the bitmask place 3 values, the file holds 2"),
    ],
)
def test_codes_that_do_not_add_up_are_refused(encoding, codes, size, nnz, message):
    with pytest.raises(InputError, match=message):
        decode_positions(encoding, np.array(codes, dtype=np.uint8), size, nnz)


def test_codes_of_another_type_are_refused():
    with pytest.raises(InputError, match=r"a code is bytes in one dimension, got int32 \[3\]"):
        decode_positions("gaps", np.zeros(3, np.int32), 3, 2)


@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_csr_arrays_are_those_of_the_matrix(density):
    random = np.random.default_rng(2)
    matrix = (random.random((7, 300)) * (random.random((7, 300)) < density)).astype(np.float32)
    positions = np.flatnonzero(matrix)
    csr = csr_of(positions, matrix.reshape(-1)[positions], matrix.shape)
    csr.validate()
    assert np.array_equal(csr.to_dense(), matrix)
