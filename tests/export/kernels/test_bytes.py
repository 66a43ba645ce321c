"""8-bit weights: every kernel set computes exactly the numbers of the specification, of every shape."""

import numpy as np
import pytest
from scipy import sparse, special

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativeLinear, NativePool, pack_rows
from platon_compress.testing import naive_int8_linear


def random_bytes(rng, out_features, in_features, density):
    """A matrix of -63 to 63 with zeros."""
    dense = rng.integers(-63, 64, (out_features, in_features)).astype(np.int8)
    return dense * (rng.random(dense.shape) < density)


def native(dense, row_scales, wide=False, **spec):
    csr = sparse.csr_matrix(dense)
    csr.sort_indices()
    return NativeLinear(
        csr.data,
        csr.indices.astype(np.int32 if wide else np.uint16),
        csr.indptr.astype(np.int32),
        in_features=dense.shape[1],
        out_features=dense.shape[0],
        row_scales=row_scales,
        **spec,
    )


def random_scales(rng, out_features):
    return (0.001 + rng.random(out_features)).astype(np.float32)


def run(linear, x, kernel, threads=1, **given):
    with NativePool(threads) as pool:
        return linear.run(x, pool, kernel=kernel, **given)


@pytest.mark.parametrize("density", [0.0, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    ("out_features", "in_features"), [(1, 1), (7, 63), (8, 64), (9, 65), (40, 255), (130, 257), (385, 600)]
)
def test_shapes_and_densities(kernel, density, out_features, in_features):
    rng = np.random.default_rng(out_features)
    dense, scales = random_bytes(rng, out_features, in_features, density), random_scales(rng, out_features)
    bias = rng.standard_normal(out_features).astype(np.float32)
    linear = native(dense, scales, bias=bias)
    for rows in (1, 9, 72):
        x = rng.standard_normal((rows, in_features)).astype(np.float32)
        assert np.array_equal(run(linear, x, kernel), naive_int8_linear(x, dense, scales, bias))


def test_every_row_count_around_the_panels(kernel):
    rng = np.random.default_rng(1)
    dense, scales = random_bytes(rng, 20, 70, 0.2), random_scales(rng, 20)
    linear = native(dense, scales)
    for rows in [*range(1, 76), 127, 128, 129, 191, 193, 197, 200]:
        x = rng.standard_normal((rows, 70)).astype(np.float32)
        assert np.array_equal(run(linear, x, kernel), naive_int8_linear(x, dense, scales))


def test_uneven_rows_and_columns(kernel):
    """Full rows, empty rows, a full column and an empty band of columns in one matrix."""
    rng = np.random.default_rng(2)
    dense = random_bytes(rng, 800, 900, 0.05)
    dense[[3, 5, 6]] = 63
    dense[10:40] = 0
    dense[:, 17] = -63
    dense[:, 250:520] = 0
    scales = random_scales(rng, 800)
    for rows in (3, 130):
        x = rng.standard_normal((rows, 900)).astype(np.float32)
        assert np.array_equal(run(native(dense, scales), x, kernel), naive_int8_linear(x, dense, scales))


def test_the_largest_sums_do_not_saturate(kernel):
    """All bytes 255 times all weights 63, either sign: the largest 16- and 32-bit sums there can be in these columns."""
    x = np.ones((20, 1024), np.float32)
    x[:, 0] = 0
    for sign in (63, -63):
        dense = np.full((9, 1024), sign, np.int8)
        scales = np.full(9, 255 / 256, np.float32)
        expected = np.full((20, 9), 1023 * sign * np.float32(255 / 256), np.float32)
        result = run(native(dense, scales), x, kernel)
        assert np.array_equal(result, naive_int8_linear(x, dense, scales))
        np.testing.assert_allclose(result, expected, rtol=1e-6)


@pytest.mark.parametrize("shift", [-50.0, -1.0, 0.0, 3.0, 1000.0])
def test_rows_far_from_zero(kernel, shift):
    rng = np.random.default_rng(3)
    dense, scales = random_bytes(rng, 60, 300, 0.1), random_scales(rng, 60)
    x = (rng.standard_normal((70, 300)) + shift).astype(np.float32)
    x[5] = shift  # rows of equal values
    x[6] = 0
    assert np.array_equal(run(native(dense, scales), x, kernel), naive_int8_linear(x, dense, scales))


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-31, 1e-29, 1e25, 1e38])
def test_rows_of_any_size(kernel, size):
    rng = np.random.default_rng(4)
    dense, scales = random_bytes(rng, 20, 100, 0.3), random_scales(rng, 20)
    x = (rng.uniform(-1, 1, (10, 100)) * size).astype(np.float32)
    assert np.array_equal(run(native(dense, scales), x, kernel), naive_int8_linear(x, dense, scales))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_are_nan_and_no_others(kernel, value):
    rng = np.random.default_rng(5)
    dense, scales = random_bytes(rng, 20, 100, 0.3), random_scales(rng, 20)
    x = rng.standard_normal((30, 100)).astype(np.float32)
    x[3, 99], x[17, 0] = value, value
    result = run(native(dense, scales), x, kernel)
    expected = naive_int8_linear(x, dense, scales)
    assert np.isnan(result[[3, 17]]).all()
    assert np.array_equal(result, expected, equal_nan=True)
    x[:] = rng.choice([-3e38, 3e38], x.shape)  # wider than float32 can tell
    assert np.isnan(run(native(dense, scales), x, kernel)).all()


def test_values_halfway_between_bytes_round_to_even(kernel):
    x = np.array([[0.0, 255.0, 0.5, 1.5, 2.5, 253.5, 254.5, 254.49]], np.float32)
    expected = np.array([[0.0, 255.0, 0.0, 2.0, 2.0, 254.0, 254.0, 254.0]], np.float32)
    dense = np.eye(8, dtype=np.int8)
    assert np.array_equal(run(native(dense, np.ones(8, np.float32)), x, kernel), expected)


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 31, 64, 65, 73, 128, 197])
def test_panels_in_and_out_and_a_residual_with_a_norm(kernel, rows):
    rng = np.random.default_rng(rows)
    dense, scales = random_bytes(rng, 200, 150, 0.3), random_scales(rng, 200) / 100
    bias, scale, shift = (rng.standard_normal(200).astype(np.float32) for _ in range(3))
    x = rng.standard_normal((rows, 150)).astype(np.float32)
    residual = rng.standard_normal((rows, 200)).astype(np.float32)
    total = naive_int8_linear(x, dense, scales, bias) + residual
    centred = total.astype(np.float64) - total.mean(1, keepdims=True, dtype=np.float64)
    normed = centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * scale + shift
    with NativePool(3) as pool:
        for panels in ((), ("input",), ("input", "output", "residual", "sum")):

            def laid(array, side, panels=panels):
                return pack_rows(array, pool, kernel=kernel) if side in panels else array

            linear = native(dense, scales, bias=bias, scale=scale, shift=shift, epsilon=1e-5, panels=panels)
            sums = np.empty((rows, 200), np.float32)
            y = linear.run(
                laid(x, "input"), pool, kernel=kernel, residual=laid(residual, "residual"), sums=sums
            )
            assert np.array_equal(sums, laid(total, "sum"))
            np.testing.assert_allclose(y, laid(normed.astype(np.float32), "output"), atol=2e-5)


def test_gelu_behind_the_product(kernel):
    rng = np.random.default_rng(7)
    dense, scales = random_bytes(rng, 90, 64, 0.2), random_scales(rng, 90) / 50
    x = rng.standard_normal((50, 64)).astype(np.float32)
    before = naive_int8_linear(x, dense, scales).astype(np.float64)
    expected = 0.5 * before * (1 + special.erf(before / np.sqrt(2)))
    np.testing.assert_allclose(run(native(dense, scales, activation="gelu"), x, kernel), expected, atol=1e-5)


def test_equal_results_for_any_thread_count(kernel):
    rng = np.random.default_rng(8)
    dense, scales = random_bytes(rng, 800, 300, 0.1), random_scales(rng, 800)
    linear = native(dense, scales)
    for rows in (1, 5, 64, 150, 600):
        x = rng.standard_normal((rows, 300)).astype(np.float32)
        expected = naive_int8_linear(x, dense, scales)
        for threads in (1, 2, 4):
            assert np.array_equal(run(linear, x, kernel, threads), expected)


def test_wide_columns_and_zeros_that_are_stored(kernel):
    rng = np.random.default_rng(9)
    dense, scales = random_bytes(rng, 11, 70_000, 0.01), random_scales(rng, 11)
    x = rng.standard_normal((12, 70_000)).astype(np.float32)
    assert np.array_equal(
        run(native(dense, scales, wide=True), x, kernel), naive_int8_linear(x, dense, scales)
    )
    stored = NativeLinear(
        np.zeros(6, np.int8),
        np.tile(np.arange(3, dtype=np.uint16), 2),
        np.array([0, 3, 6], np.int32),
        in_features=3,
        out_features=2,
        row_scales=np.ones(2, np.float32),
    )
    assert np.array_equal(run(stored, x[:, :3].copy(), kernel), np.zeros((12, 2)))


def test_packing_takes_little_more_than_a_byte_and_an_index():
    rng = np.random.default_rng(10)
    dense = random_bytes(rng, 768, 768, 0.1)
    nnz = int((dense != 0).sum())
    assert native(dense, random_scales(rng, 768)).packed_bytes < 2.6 * nnz


def test_the_rounding_error_is_that_of_eight_bits(kernel):
    """Weights of seven bits, activations of eight: the relative error of a random layer is near 1 %."""
    rng = np.random.default_rng(11)
    weight = rng.standard_normal((256, 512)) * (rng.random((256, 512)) < 0.2)
    scales = (abs(weight).max(1) / 63).astype(np.float32)
    dense = np.rint(weight / scales[:, None]).astype(np.int8)
    x = rng.standard_normal((40, 512)).astype(np.float32)
    error = run(native(dense, scales), x, kernel) - x @ weight.T
    assert np.linalg.norm(error) / np.linalg.norm(x @ weight.T) < 0.02


@pytest.mark.parametrize(
    ("values", "scales", "message"),
    [
        ([64, 1], [1, 1], "values must be within -63 to 63, got 64 in row 0"),
        ([1, -64], [1, 1], "values must be within -63 to 63, got -64 in row 1"),
        ([1, -128], [1, 1], "values must be within -63 to 63, got -128 in row 1"),
        ([1, 1], [1, 0], r"row_scales must be positive and finite, got 0\.0+ in row 1"),
        ([1, 1], [-1, 1], r"row_scales must be positive and finite, got -1\.0+ in row 0"),
        ([1, 1], [np.nan, 1], "row_scales must be positive and finite, got -?nan in row 0"),
        ([1, 1], [1, np.inf], "row_scales must be positive and finite, got inf in row 1"),
        ([1, 1], [1], "row_scales must have out_features = 2 entries, got 1"),
        ([1, 1], [1, 1, 1], "row_scales must have out_features = 2 entries, got 3"),
    ],
)
def test_values_and_scales_out_of_range_are_refused(values, scales, message):
    with pytest.raises(InputError, match=message):
        NativeLinear(
            np.array(values, np.int8),
            np.zeros(2, np.uint16),
            np.array([0, 1, 2], np.int32),
            in_features=1,
            out_features=2,
            row_scales=np.array(scales, np.float32),
        )


def test_a_row_that_could_overflow_is_refused():
    """2^31 / (255 * 63) non-zeros of full size are the most that 32-bit sums hold."""
    most = (2**31 - 1) // 255 // 63

    def layer(count):
        return NativeLinear(
            np.full(count, -63, np.int8),
            np.arange(count, dtype=np.int32),
            np.array([0, count], np.int32),
            in_features=count,
            out_features=1,
            row_scales=np.ones(1, np.float32),
        )

    x = np.ones((1, most), np.float32)
    x[0, 0] = 0
    assert run(layer(most), x, "scalar")[0, 0] == pytest.approx(-63.0 * (most - 1), rel=1e-6)
    with pytest.raises(InputError, match="must add up to at most 8421504, got 8421525 in row 0"):
        layer(most + 1)


def test_values_of_another_type_are_refused():
    with pytest.raises(InputError, match="values must be int8 where there are row_scales, got int16"):
        NativeLinear(
            np.ones(1, np.int16),
            np.zeros(1, np.uint16),
            np.array([0, 1], np.int32),
            in_features=1,
            out_features=1,
            row_scales=np.ones(1, np.float32),
        )
