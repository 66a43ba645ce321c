"""What only attention in 8-bit numbers does; what it has in common with that in floats is in test_attention.py."""

from functools import partial

import attention_heads
import numpy as np
import pytest
from attention_heads import operands

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativePool, attend

run = partial(attend, products="int8")
check = partial(attention_heads.check, products="int8")


@pytest.fixture(scope="module")
def pool():
    with NativePool(2) as threads:
        yield threads


def test_other_sequences_change_nothing(kernel, pool):
    rng = np.random.default_rng(4)
    arrays = operands(rng, [19, 40], 2, 8)
    settings = {"kernel": kernel, "heads": 2, "scale": 0.3}
    both = run(*arrays, pool, lengths=[19, 40], **settings)
    alone = run(*(a[19:].copy() for a in arrays), pool, lengths=[40], **settings)
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
    before = run(*arrays, pool, **settings)
    arrays[side][12, 3] = bad  # in the second sequence, the first head
    after = run(*arrays, pool, **settings)
    spoilt = np.zeros(after.shape, bool)
    spoilt[12 if side == 0 else slice(9, None), :8] = True
    assert np.isnan(after[spoilt]).all()
    assert np.array_equal(after[~spoilt], before[~spoilt])


@pytest.mark.parametrize(("tokens", "size"), [(1, 131_073), (131_073, 1)])
def test_sums_that_32_bits_may_not_hold_are_refused(tokens, size, pool):
    arrays = [np.zeros((tokens, size), np.float32) for _ in range(3)]
    with pytest.raises(InputError, match=r"attention in 8 bits takes at most 131072 .*, got 131073"):
        run(*arrays, pool, kernel="scalar", heads=1, scale=1.0, lengths=[tokens])


@pytest.mark.parametrize("factor", [0.0, 1e-35, 1e-20, 1e15])
def test_extreme_sizes(kernel, factor, pool):
    q, k, v = operands(np.random.default_rng(8), [23], 2, 8)
    check([q, k, (factor * v).astype(np.float32)], kernel, pool, heads=2, lengths=[23])
    result = run(np.float32(factor) * q, k, v, pool, kernel=kernel, heads=2, scale=0.3, lengths=[23])
    assert np.isfinite(result).all()
