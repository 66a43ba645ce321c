"""CSR arrays: exact round trip, the promised types, and every broken array refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.formats import CsrWeight


def _matrix(out_features, in_features, density, seed=0):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((out_features, in_features)).astype(np.float32)
    return weight * (rng.random(weight.shape) < density)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (5, 64), (65, 33)])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_round_trip_is_exact(shape, density):
    weight = _matrix(*shape, density)
    csr = CsrWeight.from_dense(weight)
    assert np.array_equal(csr.to_dense(), weight)
    assert csr.nnz == np.count_nonzero(weight)
    assert csr.density == csr.nnz / weight.size
    assert (csr.out_features, csr.in_features) == shape


def test_types_and_bytes():
    csr = CsrWeight.from_dense(_matrix(8, 16, 0.5))
    assert (csr.values.dtype, csr.columns.dtype, csr.row_starts.dtype) == (np.float32, np.uint16, np.int32)
    assert csr.nbytes == csr.nnz * 6 + 9 * 4


@pytest.mark.parametrize(("in_features", "dtype"), [(65536, np.uint16), (65537, np.int32)])
def test_columns_widen_past_16_bits(in_features, dtype):
    weight = np.zeros((2, in_features), dtype=np.float32)
    weight[0, 0] = weight[1, -1] = 1
    csr = CsrWeight.from_dense(weight)
    assert csr.columns.dtype == dtype
    assert csr.columns.tolist() == [0, in_features - 1]
    assert np.array_equal(csr.to_dense(), weight)


def test_empty_rows_and_negative_zeros_store_nothing():
    weight = np.array([[0.0, -0.0], [0.0, 0.0], [0.0, 2.0]])
    csr = CsrWeight.from_dense(weight)
    assert csr.row_starts.tolist() == [0, 0, 0, 1]


def test_other_layouts_and_types_are_read_right():
    weight = _matrix(6, 10, 0.5)
    for view in (np.asfortranarray(weight), weight.astype(np.float64), weight[::-1][::-1]):
        assert np.array_equal(CsrWeight.from_dense(view).to_dense(), weight)


@pytest.mark.parametrize("shape", [(4,), (0, 4), (4, 0), (2, 2, 2)])
def test_what_is_no_matrix_is_refused(shape):
    with pytest.raises(InputError, match="needs a matrix with values, got shape"):
        CsrWeight.from_dense(np.zeros(shape, dtype=np.float32))


def _int32(*values):
    return np.array(values, dtype=np.int32)


# The good arrays are [[1, 2, 0], [0, 0, 0], [0, 0, 3]].
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_features": 0}, "must be >= 1, got 0 and 3"),
        ({"in_features": -1}, "must be >= 1, got 3 and -1"),
        (
            {"values": np.ones((3, 1), dtype=np.float32)},
            r"values must have one dimension, got shape \[3, 1\]",
        ),
        ({"values": np.ones(2, dtype=np.float32)}, "values has 2 entries, columns has 3"),
        ({"row_starts": _int32(0, 2, 3)}, "row_starts has 3 entries, out_features is 3"),
        ({"values": np.ones(3)}, "values must be float32, got float64"),
        ({"columns": _int32(0, 1, 2)}, "columns must be uint16, got int32"),
        ({"row_starts": np.array([0, 2, 2, 3])}, "row_starts must be int32, got int64"),
        ({"row_starts": _int32(1, 2, 2, 3)}, "row_starts runs from 1 to 3, not from 0 to 3"),
        ({"row_starts": _int32(0, 2, 2, 2)}, "row_starts runs from 0 to 2, not from 0 to 3"),
        ({"row_starts": _int32(0, 2, 1, 3)}, "row_starts decreases after row 1"),
        ({"columns": np.array([0, 1, 3], dtype=np.uint16)}, "columns runs from 0 to 3, in_features is 3"),
        ({"columns": np.array([1, 0, 2], dtype=np.uint16)}, "columns do not increase within a row"),
        ({"columns": np.array([1, 1, 2], dtype=np.uint16)}, "columns do not increase within a row"),
        ({"values": np.array([1, np.nan, 1], dtype=np.float32)}, "values holds numbers that are not finite"),
    ],
)
def test_broken_arrays_are_refused(changes, message):
    good = CsrWeight.from_dense(np.array([[1, 2, 0], [0, 0, 0], [0, 0, 3]], dtype=np.float32))
    with pytest.raises(InputError, match=f"inconsistent CSR arrays: .*{message}; build them with"):
        replace(good, **changes).validate()


def test_columns_may_fall_from_one_row_to_the_next():
    weight = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 0]], dtype=np.float32)
    CsrWeight.from_dense(weight).validate()
