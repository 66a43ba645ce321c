"""Attention of every head in the kernels against float64 or, of 8-bit products, against the specification."""

import numpy as np

from platon_compress.export.kernels.native import attend, pack_rows
from platon_compress.testing import naive_int8_attention

LAYOUTS = [(), ("input",), ("output",), ("input", "output")]
EPS = float(np.finfo(np.float32).eps)
HIDDEN = -1e30  # the kernel cuts masks off here


def operands(rng, lengths, heads, size, value_size=None):
    rows = sum(lengths)
    shapes = (heads * size, heads * size, heads * (value_size or size))
    return [rng.standard_normal((rows, features)).astype(np.float32) for features in shapes]


def _float_head(q, k, v, scale, mask):
    q, k, v = (array.astype(np.float64) for array in (q, k, v))
    added = np.maximum(mask, HIDDEN)
    scores = scale * q @ k.T + added
    weights = np.exp(scores - scores.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    # A score is off by K eps of what is summed and of what is subtracted from it; keys without weight do not count.
    magnitudes = abs(scale) * abs(q) @ abs(k).T + abs(added)
    largest = np.where((added > HIDDEN / 10) & (weights > 0), magnitudes, 0).max(1, keepdims=True)
    score_error = (q.shape[1] + 4) * EPS * largest
    relative = np.expm1(2 * score_error) + (len(k) + 16) * EPS
    result = weights @ v
    return result, relative * (weights @ abs(v)) + EPS * abs(result)


def _int8_head(q, k, v, scale, mask):
    result, bound = naive_int8_attention(q, k, v, scale, mask)
    return result, bound + (64 + len(k)) * EPS * abs(v).max(0)


_ONE_HEAD = {"float32": _float_head, "int8": _int8_head}


def reference(q, k, v, heads, scale, lengths, mask=None, products="float32"):
    """Each sequence by itself, each head by itself; (result, error bound) [rows, heads * value_size]."""
    split = [array.reshape(len(array), heads, -1) for array in (q, k, v)]
    result, bound = np.zeros(split[2].shape), np.zeros(split[2].shape)
    start = 0
    for number, length in enumerate(lengths):
        rows, shape = slice(start, start + length), (len(lengths), heads, length, length)
        full = np.broadcast_to(0.0 if mask is None else mask.astype(np.float64), shape)
        for head in range(heads) if length else ():
            own = [array[rows, head] for array in split]
            result[rows, head], bound[rows, head] = _ONE_HEAD[products](*own, scale, full[number, head])
        start += length
    return result.reshape(len(q), -1), bound.reshape(len(q), -1)


def check(arrays, kernel, pool, *, heads, lengths, scale=0.3, mask=None, layouts=LAYOUTS, products="float32"):
    """Every layout within the bound; layouts move numbers only. Returns the result."""
    expected, bound = reference(*arrays, heads, scale, lengths, mask, products)
    results = []
    for panels in layouts:
        given = [pack_rows(a, pool, kernel=kernel) for a in arrays] if "input" in panels else arrays
        out = np.full(expected.shape, np.nan, np.float32)
        attend(
            *given, pool, kernel=kernel, heads=heads, scale=scale, lengths=lengths, mask=mask, panels=panels,
            out=out, products=products,
        )  # fmt: skip
        laid = [
            pack_rows(a.astype(np.float32), pool, kernel=kernel) if "output" in panels else a
            for a in (expected, bound)
        ]
        difference = abs(out - laid[0])
        assert (difference <= laid[1]).all(), (panels, difference.max())
        results.append(out)
    return results[0]
