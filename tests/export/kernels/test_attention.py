"""The attention kernels against a reference: below, at and above each tile, every layout, mask and head size."""

import numpy as np
import pytest
from attention_heads import EPS, LAYOUTS, check, operands, reference

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativePool, attend, pack_rows


@pytest.fixture(scope="module")
def pool():
    with NativePool(2) as threads:
        yield threads


@pytest.fixture(params=["float32", "int8"])
def products(request):
    return request.param


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 6, 7, 8, 9, 15, 16, 17, 24, 31, 33, 63, 64, 65, 197])
def test_every_row_count_around_the_tiles(kernel, products, rows, pool):
    rng = np.random.default_rng(rows)
    for heads, size, value_size in ((2, 8, 8), (3, 5, 7)):
        arrays = operands(rng, [rows], heads, size, value_size)
        check(arrays, kernel, pool, products=products, heads=heads, lengths=[rows])


@pytest.mark.parametrize(
    ("size", "value_size"), [(1, 1), (2, 3), (4, 4), (32, 32), (64, 64), (80, 81), (64, 1), (4, 33), (33, 4)]
)
def test_head_sizes(kernel, products, size, value_size, pool):
    rng = np.random.default_rng(size + value_size)
    arrays = operands(rng, [21, 44], 2, size, value_size)
    check(arrays, kernel, pool, products=products, heads=2, lengths=[21, 44], scale=size**-0.5)


@pytest.mark.parametrize(
    "lengths",
    [
        [5, 1],
        [3, 4],  # too few rows for panels
        [3, 5],
        [0, 7, 0, 9, 0],
        [1] * 20,
        [13, 0, 60, 100],
        [63, 1, 64, 69],
        [65, 65, 65],
        [2, 190, 3, 2],
    ],
    ids=str,
)
def test_sequences_that_cross_panels(kernel, products, lengths, pool):
    rng = np.random.default_rng(sum(lengths))
    check(operands(rng, lengths, 2, 6, 9), kernel, pool, products=products, heads=2, lengths=lengths)


@pytest.mark.parametrize("rows", [1, 7, 19, 65])
def test_masks_of_every_shape(kernel, products, rows, pool):
    rng = np.random.default_rng(rows)
    batch, heads = 3, 2
    arrays = operands(rng, [rows] * batch, heads, 4)
    for broadcast in range(16):
        full = (batch, heads, rows, rows)
        shape = [1 if broadcast >> axis & 1 else size for axis, size in enumerate(full)]
        mask = rng.standard_normal(shape).astype(np.float32)
        layouts = LAYOUTS if broadcast % 5 == 0 else LAYOUTS[3:]
        setting = {"heads": heads, "lengths": [rows] * batch, "mask": mask}
        check(arrays, kernel, pool, products=products, layouts=layouts, **setting)


@pytest.mark.parametrize("hidden", [-np.inf, np.finfo(np.float32).min, -1e30, -1e9])
@pytest.mark.parametrize("per_query", [False, True])
def test_hidden_keys_have_no_weight(kernel, products, hidden, per_query, pool):
    """Some for some queries, the last ones for all: what these hold changes nothing."""
    rng = np.random.default_rng(3)
    arrays = operands(rng, [37, 37], 2, 8)
    mask = np.where(rng.random((2, 1, 37 if per_query else 1, 37)) < 0.5, hidden, 0).astype(np.float32)
    mask[..., 0] = 0
    mask[..., 20:] = hidden
    settings = {"products": products, "heads": 2, "scale": 0.3, "lengths": [37, 37], "mask": mask}
    before = check(arrays, kernel, pool, **settings)
    for array in arrays[1:]:
        array.reshape(2, 37, -1)[:, 20:] *= -1000
    assert np.array_equal(attend(*arrays, pool, kernel=kernel, **settings), before)


@pytest.mark.parametrize("hidden", [-np.inf, np.finfo(np.float32).min, -1e30])
@pytest.mark.parametrize("per_query", [False, True])
def test_a_row_that_is_hidden_entirely_spreads_evenly(kernel, hidden, per_query, pool):
    rng = np.random.default_rng(4)
    lengths = [21, 21]
    q, k, v = operands(rng, lengths, 2, 8)
    mask = np.zeros((2, 1, 21 if per_query else 1, 21), np.float32)
    mask[1, :, 2 if per_query else 0] = hidden
    out = check([q, k, v], kernel, pool, heads=2, lengths=lengths, mask=mask)
    rows = slice(23, 24) if per_query else slice(21, 42)
    np.testing.assert_allclose(out[rows], np.tile(v[21:].mean(0), (len(out[rows]), 1)), atol=1e-6)


@pytest.mark.parametrize("factor", [30.0, 1000.0, 1e15])
def test_large_scores_do_not_overflow(kernel, factor, pool):
    """Each query sees the one key that is its own direction; the others are as far away as floats go."""
    rng = np.random.default_rng(5)
    axes = np.eye(16, dtype=np.float32)[rng.permutation(16)] * np.float32(factor)
    v = rng.standard_normal((16, 5)).astype(np.float32)
    out = attend(axes, -axes, v, pool, kernel=kernel, heads=1, scale=-1.0, lengths=[16])
    np.testing.assert_allclose(out, v, rtol=1e-6)
    out = attend(axes, axes, v, pool, kernel=kernel, heads=1, scale=1e-30, lengths=[16])
    expected, bound = reference(axes, axes, v, 1, 1e-30, [16])
    assert (abs(out - expected) <= bound + EPS).all()


def test_scores_far_below_the_largest_keep_their_precision(kernel, pool):
    """Weights from 1 down to 2^-100, seen one at a time: values are their inverses."""
    powers = np.arange(0, 100, dtype=np.float32)
    q, k = np.ones((100, 1), np.float32), -powers[:, None] * np.float32(np.log(2))
    v = np.diag(2.0**powers).astype(np.float32)
    out = attend(q, k, v, pool, kernel=kernel, heads=1, scale=1.0, lengths=[100])
    np.testing.assert_allclose(out, np.full((100, 100), 0.5), rtol=100 * EPS)


@pytest.mark.parametrize("panels", LAYOUTS, ids=str)
def test_equal_results_for_any_thread_count(kernel, products, panels):
    rng = np.random.default_rng(6)
    for lengths, masked in (([150], True), ([40, 0, 77, 3], False)):
        arrays = operands(rng, lengths, 5, 8)
        mask = rng.standard_normal((1, 1, 150, 150)).astype(np.float32) if masked else None
        results = []
        for threads in (1, 2, 4):
            with NativePool(threads) as workers:
                results.append(
                    attend(
                        *arrays, workers, kernel=kernel, heads=5, scale=0.3, lengths=lengths, mask=mask,
                        panels=panels, products=products,
                    )
                )  # fmt: skip
        assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("panels", [(), ("input", "output")], ids=str)
def test_nan_in_one_query_stays_there(kernel, panels, pool):
    rng = np.random.default_rng(7)
    lengths, heads = [30, 25], 2
    arrays = operands(rng, lengths, heads, 8)
    settings = {"kernel": kernel, "heads": heads, "scale": 0.3, "lengths": lengths, "panels": panels}

    def run(arrays):
        given = [pack_rows(a, pool, kernel=kernel) for a in arrays] if panels else arrays
        return attend(*given, pool, **settings)

    clean = run(arrays)
    arrays[0][17, 3] = np.nan  # query 17, head 0
    hit = np.zeros((55, 16), np.float32)
    hit[17, :8] = 1
    expected = (pack_rows(hit, pool, kernel=kernel) if panels else hit) == 1
    out = run(arrays)
    assert np.array_equal(np.isnan(out), expected)
    assert np.array_equal(out[~expected], clean[~expected])


def test_nan_and_infinite_values_stay_in_their_feature_and_sequence(kernel, pool):
    rng = np.random.default_rng(8)
    q, k, v = operands(rng, [9, 20], 2, 8)
    v[12, 3] = np.nan
    v[15, 4] = np.inf
    out = attend(q, k, v, pool, kernel=kernel, heads=2, scale=0.3, lengths=[9, 20])
    expected = np.ones(out.shape, bool)
    expected[9:, 3:5] = False
    assert np.array_equal(np.isfinite(out), expected)


def test_misaligned_memory(kernel, products, pool):
    rng = np.random.default_rng(9)
    arrays = []
    for array in operands(rng, [40], 2, 9):
        moved = np.empty(array.size + 1, np.float32)[1:].reshape(array.shape)
        moved[...] = array
        arrays.append(moved)
    check(arrays, kernel, pool, products=products, heads=2, lengths=[40])


def test_no_rows(kernel, products, pool):
    empty = np.empty((0, 8), np.float32)
    for lengths in ([], [0], [0, 0]):
        settings = {"products": products, "heads": 2, "scale": 1.0, "lengths": lengths}
        assert attend(empty, empty, empty, pool, kernel=kernel, **settings).shape == (0, 8)


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
def test_kernel_sets_agree_about_masks_that_are_no_numbers(kernel, bad, pool):
    rng = np.random.default_rng(10)
    arrays = operands(rng, [20], 2, 4)
    mask = np.zeros((1, 1, 1, 20), np.float32)
    mask[..., 5] = bad
    scalar, own = (
        attend(*arrays, pool, kernel=name, heads=2, scale=0.3, lengths=[20], mask=mask)
        for name in ("scalar", kernel)
    )
    np.testing.assert_allclose(own, scalar, atol=1e-6, equal_nan=True)
    assert np.isnan(scalar).all() == np.isnan(bad)


def test_bad_arguments_are_refused(pool):
    x = np.ones((4, 8), np.float32)
    settings = {"kernel": "scalar", "heads": 2, "scale": 1.0, "lengths": [4]}
    with pytest.raises(InputError, match=r"k must be float32 \(4, 8\) in C order"):
        attend(x, x[:3], x, pool, **settings)
    with pytest.raises(InputError, match="heads must be >= 1 and divide 8 and 8 features, got 3"):
        attend(x, x, x, pool, **settings | {"heads": 3})
    with pytest.raises(InputError, match="heads must be >= 1 and divide 8 and 8 features, got 0"):
        attend(x, x, x, pool, **settings | {"heads": 0})
    with pytest.raises(InputError, match="lengths must not be negative, got -1"):
        attend(x, x, x, pool, **settings | {"lengths": [5, -1]})
    with pytest.raises(InputError, match=r"mask must have the shape \(1, 2, 4, 4\) .* got \(1, 1, 4, 3\)"):
        attend(x, x, x, pool, **settings, mask=np.zeros((1, 1, 4, 3), np.float32))
    with pytest.raises(InputError, match=r"a mask needs sequences of one length, got \[1, 3\]"):
        attend(x, x, x, pool, **settings | {"lengths": [1, 3]}, mask=np.zeros((2, 1, 1, 1), np.float32))
    with pytest.raises(InputError, match="no 'mmx' kernels"):
        attend(x, x, x, pool, **settings | {"kernel": "mmx"})
