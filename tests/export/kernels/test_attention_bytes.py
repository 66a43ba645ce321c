"""Attention in 8-bit numbers against the specification: below, at and above each tile, every layout, mask and head size."""

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativePool, attend, pack_rows
from platon_compress.testing import naive_int8_attention

LAYOUTS = [(), ("input",), ("output",), ("input", "output")]
EPS = float(np.finfo(np.float32).eps)


def operands(rng, lengths, heads, size, value_size=None):
    rows = sum(lengths)
    shapes = (heads * size, heads * size, heads * (value_size or size))
    return [rng.standard_normal((rows, features)).astype(np.float32) for features in shapes]


def reference(q, k, v, heads, scale, lengths, mask=None):
    """(result, bound) [rows, heads * value_size], head by head, sequence by sequence."""
    split = [array.reshape(len(array), heads, -1) for array in (q, k, v)]
    result, bound = np.zeros(split[2].shape), np.zeros(split[2].shape)
    ends = np.cumsum(lengths)
    for (number, length), head in ((item, h) for item in enumerate(lengths) for h in range(heads)):
        rows = slice(ends[number] - length, ends[number])
        hidden = (
            0.0
            if mask is None
            else np.broadcast_to(mask, (len(lengths), heads, length, length))[number, head]
        )
        if length:
            own = [array[rows, head] for array in split]
            result[rows, head], bound[rows, head] = naive_int8_attention(*own, scale, hidden)
            bound[rows, head] += (64 + length) * EPS * abs(own[2]).max(0)
    return result.reshape(len(q), -1), bound.reshape(len(q), -1)


def run(arrays, pool, out=None, panels=(), **settings):
    given = [pack_rows(a, pool, kernel=settings["kernel"]) for a in arrays] if "input" in panels else arrays
    return attend(*given, pool, products="int8", panels=panels, out=out, **settings)


def check(arrays, kernel, pool, *, heads, lengths, scale=0.3, mask=None, layouts=LAYOUTS):
    """Every layout within the bound; layouts move numbers only. Returns the result."""
    expected, bound = reference(*arrays, heads, scale, lengths, mask)
    settings = {"kernel": kernel, "heads": heads, "scale": scale, "lengths": lengths, "mask": mask}
    results = []
    for panels in layouts:
        out = np.full(expected.shape, np.nan, np.float32)
        run(arrays, pool, out, panels, **settings)
        laid = [
            pack_rows(a.astype(np.float32), pool, kernel=kernel) if "output" in panels else a
            for a in (expected, bound)
        ]
        assert (abs(out - laid[0]) <= laid[1]).all(), (panels, abs(out - laid[0]).max())
        results.append(out)
    return results[0]


@pytest.fixture(scope="module")
def pool():
    with NativePool(2) as threads:
        yield threads


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 33, 63, 64, 65, 197])
def test_every_row_count_around_the_tiles(kernel, rows, pool):
    rng = np.random.default_rng(rows)
    for heads, size, value_size in ((2, 8, 8), (3, 5, 7)):
        arrays = operands(rng, [rows], heads, size, value_size)
        check(arrays, kernel, pool, heads=heads, lengths=[rows])


@pytest.mark.parametrize(
    ("size", "value_size"), [(1, 1), (2, 3), (32, 32), (64, 64), (80, 81), (64, 1), (4, 33), (33, 4)]
)
def test_head_sizes(kernel, size, value_size, pool):
    rng = np.random.default_rng(size + value_size)
    arrays = operands(rng, [21, 44], 2, size, value_size)
    check(arrays, kernel, pool, heads=2, lengths=[21, 44], scale=size**-0.5)


@pytest.mark.parametrize(
    "lengths",
    [[5, 1], [3, 4], [0, 7, 0, 9, 0], [1] * 20, [13, 0, 60, 100], [63, 1, 64, 69], [2, 190, 3, 2]],
    ids=str,
)
def test_sequences_that_cross_panels(kernel, lengths, pool):
    rng = np.random.default_rng(sum(lengths))
    check(operands(rng, lengths, 2, 6, 9), kernel, pool, heads=2, lengths=lengths)


@pytest.mark.parametrize("rows", [1, 7, 19, 65])
def test_masks_of_every_shape(kernel, rows, pool):
    rng = np.random.default_rng(rows)
    batch, heads = 3, 2
    arrays = operands(rng, [rows] * batch, heads, 4)
    for broadcast in range(16):
        full = (batch, heads, rows, rows)
        shape = [1 if broadcast >> axis & 1 else size for axis, size in enumerate(full)]
        mask = rng.standard_normal(shape).astype(np.float32)
        check(
            arrays,
            kernel,
            pool,
            heads=heads,
            lengths=[rows] * batch,
            mask=mask,
            layouts=LAYOUTS[broadcast % 4 :][:1],
        )


@pytest.mark.parametrize("hidden", [-np.inf, np.finfo(np.float32).min, -1e30, -1e9])
@pytest.mark.parametrize("per_query", [False, True])
def test_what_is_hidden_changes_nothing(kernel, hidden, per_query, pool):
    rng = np.random.default_rng(3)
    lengths = [37, 37]
    arrays = operands(rng, lengths, 2, 8)
    mask = np.zeros((2, 1, 37 if per_query else 1, 37), np.float32)
    mask[..., 20:] = hidden
    before = check(arrays, kernel, pool, heads=2, lengths=lengths, mask=mask)
    for array in arrays[1:]:
        array.reshape(2, 37, -1)[:, 20:] *= 1000
    settings = {"kernel": kernel, "heads": 2, "scale": 0.3, "lengths": lengths, "mask": mask}
    assert np.array_equal(run(arrays, pool, **settings), before)


def test_other_sequences_change_nothing(kernel, pool):
    rng = np.random.default_rng(4)
    arrays = operands(rng, [19, 40], 2, 8)
    settings = {"kernel": kernel, "heads": 2, "scale": 0.3}
    both = run(arrays, pool, lengths=[19, 40], **settings)
    alone = run([a[19:].copy() for a in arrays], pool, lengths=[40], **settings)
    assert np.array_equal(both[19:], alone)


def test_a_mean_where_all_is_hidden(kernel, pool):
    """Of the values, whatever their weights: the result lies among them."""
    arrays = operands(np.random.default_rng(5), [11], 1, 8)
    mask = np.full((1, 1, 1, 11), -np.inf, np.float32)
    result = check(arrays, kernel, pool, heads=1, lengths=[11], mask=mask)
    assert (result >= arrays[2].min(0) - 0.02).all()
    assert (result <= arrays[2].max(0) + 0.02).all()


def test_a_small_value_with_a_large_weight_counts(kernel, pool):
    """What many heads do: attend to a token that says next to nothing. The others' weights keep their precision."""
    q, k, v = operands(np.random.default_rng(6), [50], 1, 16)
    k[0] = 3 * q.mean(0) + 1
    q += 4 * k[0] / np.linalg.norm(k[0])
    v[0] *= 1e-3
    result = check([q, k, v], kernel, pool, heads=1, lengths=[50], scale=0.5)
    exact = attend(q, k, v, pool, kernel="scalar", heads=1, scale=0.5, lengths=[50])
    assert np.linalg.norm(result - exact) < 0.05 * np.linalg.norm(exact)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", [0, 1, 2], ids=["q", "k", "v"])
def test_what_is_not_finite(kernel, bad, side, pool):
    """A query spoils itself, a key or a value all queries of its head and sequence; nothing else."""
    lengths = [9, 40]
    arrays = operands(np.random.default_rng(7), lengths, 2, 8)
    settings = {"kernel": kernel, "heads": 2, "scale": 0.3, "lengths": lengths}
    before = run(arrays, pool, **settings)
    arrays[side][12, 3] = bad  # in the second sequence, the first head
    after = run(arrays, pool, **settings)
    spoilt = np.zeros(after.shape, bool)
    spoilt[12 if side == 0 else slice(9, None), :8] = True
    assert np.isnan(after[spoilt]).all()
    assert np.array_equal(after[~spoilt], before[~spoilt])


@pytest.mark.parametrize(("tokens", "size"), [(1, 131_073), (131_073, 1)])
def test_sums_that_32_bits_may_not_hold_are_refused(tokens, size, pool):
    arrays = [np.zeros((tokens, size), np.float32) for _ in range(3)]
    with pytest.raises(InputError, match=r"attention in 8 bits takes at most 131072 .*, got 131073"):
        run(arrays, pool, kernel="scalar", heads=1, scale=1.0, lengths=[tokens])


@pytest.mark.parametrize("factor", [0.0, 1e-35, 1e-20, 1e15])
def test_extreme_sizes(kernel, factor, pool):
    q, k, v = operands(np.random.default_rng(8), [23], 2, 8)
    check([q, k, (factor * v).astype(np.float32)], kernel, pool, heads=2, lengths=[23])
    result = run([np.float32(factor) * q, k, v], pool, kernel=kernel, heads=2, scale=0.3, lengths=[23])
    assert np.isfinite(result).all()
