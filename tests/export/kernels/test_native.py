"""Every kernel set against float64: below, at and above each tile, every density, threads and activations."""

import numpy as np
import pytest
from scipy import sparse, special

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import (
    NativeLinear,
    NativePool,
    pack_rows,
)

ACTIVATIONS = {
    "": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + special.erf(x / np.sqrt(2))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
}


def random_weight(rng, out_features, in_features, density):
    dense = rng.standard_normal((out_features, in_features)).astype(np.float32)
    dense *= rng.random(dense.shape) < density
    return dense


def block_weight(rng, out_features, in_features, density, structure):
    """4x1 blocks in the first rows that are a multiple of 4; "mixed": half of the groups of four rows are random
    instead; "ragged": a tenth of the blocks' weights are missing, and as many stand beside them."""
    dense = rng.standard_normal((out_features, in_features)).astype(np.float32)
    random = rng.random(dense.shape) < density
    mask = np.repeat(rng.random((-(-out_features // 4), in_features)) < density, 4, axis=0)[:out_features]
    if structure == "mixed":
        chosen = np.repeat(rng.random(-(-out_features // 4)) < 0.5, 4)[:out_features]
        mask[chosen] = random[chosen]
    if structure == "ragged":
        mask = np.where(rng.random(dense.shape) < 0.1, random, mask)
    return dense * mask


def native(dense, bias=None, activation="", wide=False, **layouts):
    csr = sparse.csr_matrix(dense)
    csr.sort_indices()
    columns = csr.indices.astype(np.int32 if wide else np.uint16)
    out_features, in_features = dense.shape
    return NativeLinear(
        csr.data.astype(np.float32),
        columns,
        csr.indptr.astype(np.int32),
        in_features=in_features,
        out_features=out_features,
        bias=bias,
        activation=activation,
        **layouts,
    )


def check(linear, dense, x, bias, activation, kernel, threads=1):
    """|result - float64| <= K eps |x| |W| + the activation's own error (each is at most 1.13 times as steep)."""
    with NativePool(threads) as pool:
        y = linear.run(x, pool, kernel=kernel)
    w64, x64 = dense.astype(np.float64), x.astype(np.float64)
    b64 = np.zeros(len(dense)) if bias is None else bias.astype(np.float64)
    before = x64 @ w64.T + b64
    bound = (dense.shape[1] + 2) * np.finfo(np.float32).eps * (abs(x64) @ abs(w64).T + abs(b64)) * 1.13
    own = 0 if activation in ("", "relu") else 2e-6 * (1 + abs(before))
    assert y.shape == before.shape
    assert (abs(y - ACTIVATIONS[activation](before)) <= bound + own).all()
    return y


@pytest.mark.parametrize("density", [0.0, 0.05, 0.1, 0.5, 1.0])
@pytest.mark.parametrize(
    ("out_features", "in_features"), [(1, 1), (7, 63), (8, 64), (9, 65), (40, 255), (130, 129), (385, 257)]
)
def test_shapes_and_densities(kernel, density, out_features, in_features):
    rng = np.random.default_rng(out_features)
    dense = random_weight(rng, out_features, in_features, density)
    bias = rng.standard_normal(out_features).astype(np.float32)
    linear = native(dense, bias)
    for rows in (1, 9, 72):
        x = rng.standard_normal((rows, in_features)).astype(np.float32)
        check(linear, dense, x, bias, "", kernel)


def test_every_row_count_around_the_panels(kernel):
    rng = np.random.default_rng(1)
    dense = random_weight(rng, 20, 70, 0.2)
    linear = native(dense)
    for rows in [*range(1, 36), *range(47, 50), *range(60, 70), 127, 128, 129, 191, 193, 200]:
        check(linear, dense, rng.standard_normal((rows, 70)).astype(np.float32), None, "", kernel)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_activations_over_their_whole_range(kernel, activation):
    dense = np.eye(24, dtype=np.float32)
    bias = np.linspace(-2, 2, 24).astype(np.float32)
    x = np.linspace(-30, 30, 24 * 100).astype(np.float32).reshape(100, 24)
    check(native(dense, bias, activation), dense, x, bias, activation, kernel)


@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_nan_and_large_values_come_through(kernel, activation):
    x = np.array([[np.nan, 1e30, -1e30, 0.0]], np.float32)
    with NativePool(1) as pool:
        y = native(np.eye(4, dtype=np.float32), activation=activation).run(x, pool, kernel=kernel)
    low = -np.float32(1e30) if activation == "" else 0.0
    assert np.isnan(y[0, 0])
    assert y[0, 1] == np.float32(1e30)
    assert abs(y[0, 2] - low) < 1
    assert y[0, 3] == 0


def test_uneven_rows_and_columns(kernel):
    """Full rows, empty rows, a full column and an empty band of columns in one matrix."""
    rng = np.random.default_rng(2)
    dense = random_weight(rng, 200, 300, 0.05)
    dense[3] = rng.standard_normal(300)
    dense[10:40] = 0
    dense[:, 17] = 1
    dense[:, 64:192] = 0
    bias = rng.standard_normal(200).astype(np.float32)
    for rows in (3, 130):
        x = rng.standard_normal((rows, 300)).astype(np.float32)
        check(native(dense, bias), dense, x, bias, "", kernel)


def test_equal_results_for_any_thread_count(kernel):
    rng = np.random.default_rng(3)
    dense = random_weight(rng, 800, 200, 0.1)
    linear = native(dense, activation="gelu")
    for rows in (1, 5, 64, 150):
        x = rng.standard_normal((rows, 200)).astype(np.float32)
        results = [check(linear, dense, x, None, "gelu", kernel, threads) for threads in (1, 2, 4)]
        assert np.array_equal(results[0], results[1])
        assert np.array_equal(results[0], results[2])


@pytest.mark.parametrize("structure", ["4x1", "mixed", "ragged"])
@pytest.mark.parametrize("density", [0.05, 0.3, 1.0])
@pytest.mark.parametrize(
    ("out_features", "in_features"), [(4, 1), (7, 63), (12, 300), (130, 129), (385, 513), (1027, 70)]
)
def test_blocks_of_four_rows(kernel, structure, density, out_features, in_features):
    rng = np.random.default_rng(out_features)
    dense = block_weight(rng, out_features, in_features, density, structure)
    bias = rng.standard_normal(out_features).astype(np.float32)
    for linear, given in ((native(dense, bias), bias), (native(dense), None)):
        for rows in (1, 11, 72):
            x = rng.standard_normal((rows, in_features)).astype(np.float32)
            check(linear, dense, x, given, "", kernel)


@pytest.mark.parametrize("structure", ["4x1", "mixed", "ragged"])
def test_blocks_at_every_panel_width(kernel, structure):
    rng = np.random.default_rng(11)
    dense = block_weight(rng, 42, 300, 0.2, structure)
    dense[8:16] = 0
    dense[16:24, :256] = 0  # nothing in the block that starts the sums
    linear = native(dense)
    for rows in [*range(8, 73, 8), 13, 63, 128, 197]:
        check(linear, dense, rng.standard_normal((rows, 300)).astype(np.float32), None, "", kernel)


def test_blocks_beside_very_uneven_rows(kernel):
    """Full rows cut chunks at any row, so that some groups of four lie in two chunks."""
    rng = np.random.default_rng(12)
    dense = block_weight(rng, 799, 500, 0.02, "4x1")
    dense[[5, 6, 7, 401]] = rng.standard_normal((4, 500))
    x = rng.standard_normal((20, 500)).astype(np.float32)
    check(native(dense), dense, x, None, "", kernel)


@pytest.mark.parametrize("structure", ["4x1", "mixed", "ragged"])
def test_equal_results_of_blocks_for_any_thread_count(kernel, structure):
    rng = np.random.default_rng(13)
    dense = block_weight(rng, 803, 300, 0.1, structure)
    linear = native(dense, activation="gelu")
    for rows in (5, 64, 150):
        x = rng.standard_normal((rows, 300)).astype(np.float32)
        results = [check(linear, dense, x, None, "gelu", kernel, threads) for threads in (1, 2, 4)]
        assert all(np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("structure", ["4x1", "mixed", "ragged"])
def test_blocks_touch_no_column_that_a_row_lacks(kernel, structure):
    """0 * inf would be NaN: rows without the column must stay finite."""
    rng = np.random.default_rng(14)
    dense = block_weight(rng, 64, 300, 0.3, structure)
    x = rng.standard_normal((9, 300)).astype(np.float32)
    x[:, 17] = np.inf
    with NativePool(1) as pool:
        y = native(dense).run(x, pool, kernel=kernel)
    assert np.array_equal(np.isfinite(y), np.tile(dense[:, 17] == 0, (9, 1)))


def test_blocks_share_their_columns_when_packed():
    """Four rows store each column once, where the mask has blocks and only there."""
    rng = np.random.default_rng(15)
    blocks = block_weight(rng, 768, 768, 0.1, "4x1")
    for dense, expected in ((blocks, 1.25 / 4), (random_weight(rng, 768, 768, 0.4), 1.0), (blocks[1:], 1.0)):
        nnz = int((dense != 0).sum())
        beside_values = native(dense).packed_bytes / nnz - 4
        assert expected - 0.1 < beside_values < expected + 0.4


def test_misaligned_input_and_output(kernel):
    rng = np.random.default_rng(4)
    dense = random_weight(rng, 33, 50, 0.3)
    x = np.empty(20 * 50 + 1, np.float32)[1:].reshape(20, 50)
    x[...] = rng.standard_normal(x.shape)
    out = np.empty(20 * 33 + 1, np.float32)[1:].reshape(20, 33)
    with NativePool(1) as pool:
        native(dense).run(x, pool, kernel=kernel, out=out)
    np.testing.assert_allclose(out, x @ dense.T, atol=1e-5)


def test_wide_columns(kernel):
    rng = np.random.default_rng(5)
    dense = random_weight(rng, 11, 400, 0.1)
    x = rng.standard_normal((12, 400)).astype(np.float32)
    check(native(dense, wide=True), dense, x, None, "", kernel)


def test_packing_takes_little_more_than_the_values():
    dense = random_weight(np.random.default_rng(6), 768, 768, 0.1)
    nnz = int((dense != 0).sum())
    assert native(dense).packed_bytes < 6 * nnz


def test_bad_arguments_are_refused():
    for threads in (0, -1, 1025, 2**31, 10**30):
        with pytest.raises(InputError, match=f"threads must be >= 1 and at most 1024, got {threads}; 1 runs"):
            NativePool(threads)
    with pytest.raises(InputError, match="columns must be uint16 or int32, got int64"):
        NativeLinear(
            np.ones(1, np.float32),
            np.zeros(1, np.int64),
            np.array([0, 1], np.int32),
            in_features=1,
            out_features=1,
        )
    linear = native(np.eye(4, dtype=np.float32))
    with NativePool(1) as pool:
        with pytest.raises(InputError, match=r"x must be float32 \(2, 4\) in C order"):
            linear.run(np.ones((2, 3), np.float32), pool, kernel="scalar")
        with pytest.raises(InputError, match=r"out must be float32 \(2, 4\)"):
            linear.run(np.ones((2, 4), np.float32), pool, kernel="scalar", out=np.empty((2, 5), np.float32))
        with pytest.raises(InputError, match="no 'mmx' kernels"):
            linear.run(np.ones((2, 4), np.float32), pool, kernel="mmx")


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 16, 31, 64, 65, 73, 128, 197])
def test_layers_that_keep_panels_between_them(kernel, rows):
    """Row-major in, panels between two layers, row-major out; and one packed input for two layers."""
    rng = np.random.default_rng(rows)
    first, second = random_weight(rng, 70, 45, 0.3), random_weight(rng, 33, 70, 0.3)
    bias = rng.standard_normal(70).astype(np.float32)
    x = rng.standard_normal((rows, 45)).astype(np.float32)
    with NativePool(2) as pool:
        plain = native(first, bias, "gelu").run(x, pool, kernel=kernel)
        expected = native(second).run(plain, pool, kernel=kernel)
        between = native(first, bias, "gelu", panels=("output",)).run(x, pool, kernel=kernel)
        packed = pack_rows(x, pool, kernel=kernel)
        shared = native(first, bias, "gelu", panels=("input",)).run(packed, pool, kernel=kernel)
        both = native(first, bias, "gelu", panels=("input", "output")).run(packed, pool, kernel=kernel)
        result = native(second, panels=("input",)).run(between, pool, kernel=kernel)
    np.testing.assert_allclose(shared, plain, atol=1e-5)
    np.testing.assert_allclose(both, between, atol=1e-5)
    np.testing.assert_allclose(result, expected, atol=1e-4)
    assert np.array_equal(pack_rows(x, NativePool(1), kernel="scalar"), packed)


def epilogue_layer(rng, out_features, in_features, panels):
    """A layer with bias, residual and norm, and what float64 says about (sum, norm)."""
    dense = random_weight(rng, out_features, in_features, 0.3)
    bias, scale, shift = (rng.standard_normal(out_features).astype(np.float32) for _ in range(3))
    layer = native(dense, bias, scale=scale, shift=shift, epsilon=1e-5, panels=panels)

    def reference(x, residual):
        total = x.astype(np.float64) @ dense.T.astype(np.float64) + bias + residual
        centred = total - total.mean(1, keepdims=True)
        return total, centred / np.sqrt((centred**2).mean(1, keepdims=True) + 1e-5) * scale + shift

    return layer, reference


@pytest.mark.parametrize("rows", [1, 7, 8, 9, 31, 64, 65, 130, 197])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(
    "panels", [(), ("residual",), ("input", "residual", "output", "sum"), ("sum",), ("output",)]
)
def test_residual_and_norm_behind_the_product(kernel, rows, threads, panels):
    rng = np.random.default_rng(rows)
    layer, reference = epilogue_layer(rng, 200, 45, panels)
    x = rng.standard_normal((rows, 45)).astype(np.float32)
    residual = 3 * rng.standard_normal((rows, 200)).astype(np.float32) + 1
    total, normed = reference(x, residual)
    with NativePool(threads) as pool:

        def laid(array, side):
            return pack_rows(array, pool, kernel=kernel) if side in panels else array

        sums = np.full((rows, 200), np.nan, np.float32)
        given = laid(x, "input"), laid(residual, "residual")
        y = layer.run(given[0], pool, kernel=kernel, residual=given[1], sums=sums)
        again = layer.run(given[0], pool, kernel=kernel, residual=given[1])
        expected_sums, expected = (
            laid(v.astype(np.float32), s) for v, s in ((total, "sum"), (normed, "output"))
        )
    np.testing.assert_allclose(sums, expected_sums, atol=2e-5)
    np.testing.assert_allclose(y, expected, atol=2e-5)
    np.testing.assert_allclose(again, y, atol=1e-5)  # without the sum


def test_norm_of_values_far_from_zero(kernel):
    rng = np.random.default_rng(5)
    layer, reference = epilogue_layer(rng, 768, 20, ())
    x = rng.standard_normal((9, 20)).astype(np.float32)
    residual = (rng.standard_normal((9, 768)) + 1000).astype(np.float32)
    with NativePool(2) as pool:
        y = layer.run(x, pool, kernel=kernel, residual=residual)
    np.testing.assert_allclose(
        y, reference(x, residual)[1], atol=2e-3
    )  # float32 holds the sum to 6e-5 itself


def test_equal_norms_for_any_thread_count(kernel):
    rng = np.random.default_rng(6)
    layer, _ = epilogue_layer(rng, 1000, 300, ("output",))
    x = rng.standard_normal((150, 300)).astype(np.float32)
    residual = rng.standard_normal((150, 1000)).astype(np.float32)
    results = []
    for threads in (1, 2, 4):
        with NativePool(threads) as pool:
            results.append(layer.run(x, pool, kernel=kernel, residual=residual))
    assert all(np.array_equal(results[0], other) for other in results[1:])


def test_impossible_epilogues_are_refused():
    dense, vector = np.eye(4, dtype=np.float32), np.ones(4, np.float32)
    with pytest.raises(InputError, match="a norm cannot follow an activation"):
        native(dense, activation="relu", scale=vector, shift=vector)
    with pytest.raises(InputError, match="shift must have out_features = 4 entries, got 0"):
        native(dense, scale=vector)
    with pytest.raises(InputError, match="scale must have out_features = 4 entries, got 3"):
        native(dense, scale=vector[:3], shift=vector)
    with pytest.raises(InputError, match=r"epsilon must lie in \[0, 1\], got nan"):
        native(dense, epsilon=float("nan"))
    with (
        NativePool(1) as pool,
        pytest.raises(InputError, match="a residual cannot be added behind an activation"),
    ):
        native(dense, activation="relu").run(dense, pool, kernel="scalar", residual=dense)


def test_what_is_closed_is_refused():
    x = np.eye(4, dtype=np.float32)
    linear, pool = native(x), NativePool(2)
    pool.close()
    pool.close()
    with pytest.raises(InputError, match="the pool is closed; make a new one"):
        linear.run(x, pool, kernel="scalar")
    linear.close()
    linear.close()
    with NativePool(1) as pool, pytest.raises(InputError, match="the layer is closed; make a new one"):
        linear.run(x, pool, kernel="scalar")


def test_a_system_without_more_threads(monkeypatch):
    def refuse(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(InputError, match="threads is 3, and can't start new thread; take fewer"):
        NativePool(3)


@pytest.mark.parametrize("rows", [5, 32, 130])
def test_the_cut_changes_no_bits(kernel, rows):
    """As machines of other sizes cut the same weight; a norm needs all of a panel's features."""
    rng = np.random.default_rng(rows)
    dense = random_weight(rng, 384, 200, 0.1)
    ones = np.ones(384, np.float32)
    x = rng.standard_normal((rows, 200)).astype(np.float32)
    found = {}
    with NativePool(3) as pool:
        for cut in ((1, 0), (2, 0), (4, 0), (64, 0), (64, 8)):
            linear = native(dense, ones, scale=ones, shift=ones, epsilon=1e-5, cut=cut)
            found[linear.chunks] = linear.run(x, pool, kernel=kernel)
    assert sorted(found)[:3] == [1, 2, 4]
    assert len(found) == 5
    first, *others = found.values()
    assert all(np.array_equal(first, other) for other in others)
    with pytest.raises(InputError, match="cores and least_rows must be >= 0, got -1 and 0"):
        native(dense, cut=(-1, 0))
