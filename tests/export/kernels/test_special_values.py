"""Infinities, NaN and the ends of float32 through every kernel set, against the formulas in float64."""

import numpy as np
import pytest
from scipy import sparse, special

from platon_compress.export.kernels.native import NativeLinear, NativePool, attend

LARGE = [np.inf, 3.4e38, 1e30, 1e20, 89, 88, 13.5, 10.5, 9.9, 5.7, 1e-40]
SPECIAL = np.array([np.nan, 0.0, *LARGE, *(-value for value in LARGE)], np.float32)


def _formula(name, x):
    with np.errstate(all="ignore"):
        return {
            "": lambda: x,
            "relu": lambda: np.where(np.isnan(x), x, np.maximum(x, 0)),
            "gelu": lambda: 0.5 * x * (1 + special.erf(x / np.sqrt(2))),
            "gelu_tanh": lambda: 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
        }[name]()


def _identity(features, activation, panels=()):
    """Every output is one input: what comes out is the activation alone."""
    eye = sparse.eye(features, format="csr")
    return NativeLinear(
        eye.data.astype(np.float32),
        eye.indices.astype(np.uint16),
        eye.indptr.astype(np.int32),
        in_features=features,
        out_features=features,
        activation=activation,
        panels=panels,
    )


@pytest.mark.parametrize("activation", ["", "relu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("rows", [1, 7, 8, 13, 64, 70])
@pytest.mark.parametrize("features", [1, 9])
@pytest.mark.parametrize("panels", [(), ("input", "output")], ids=str)
def test_activations(kernel, activation, rows, features, panels):
    """In panels the same numbers stand in other places, as an identity leaves them."""
    x = np.resize(SPECIAL, (rows, features))
    with NativePool(1) as pool:
        y = _identity(features, activation, panels).run(x, pool, kernel=kernel)
    expected = _formula(activation, x.astype(np.float64))
    np.testing.assert_allclose(y, expected, rtol=2e-6, atol=2e-6, equal_nan=True)


def test_negative_infinity_is_what_the_formula_says(kernel):
    """-inf * 0 is no number, in ONNX Runtime and torch as here; a large finite one comes to zero."""
    x = np.array([[-np.inf, -3.4e38]], np.float32)
    with NativePool(1) as pool:
        for activation in ("gelu", "gelu_tanh"):
            y = _identity(2, activation).run(x, pool, kernel=kernel)
            assert np.isnan(y[0, 0])
            assert y[0, 1] == 0


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("rows", [3, 17])
def test_norm_of_a_row_that_is_not_finite(kernel, value, rows):
    """The row is lost, as in any layer norm, and the other rows are not."""
    rng = np.random.default_rng(0)
    ones = np.ones(40, np.float32)
    eye = sparse.eye(40, format="csr")
    linear = NativeLinear(
        eye.data.astype(np.float32), eye.indices.astype(np.uint16), eye.indptr.astype(np.int32),
        in_features=40, out_features=40, scale=ones, shift=ones, epsilon=1e-5,
    )  # fmt: skip
    x = rng.standard_normal((rows, 40)).astype(np.float32)
    x[1, 5] = value
    with NativePool(1) as pool:
        y = linear.run(x, pool, kernel=kernel)
    assert np.isnan(y[1]).all()
    assert np.isfinite(np.delete(y, 1, axis=0)).all()


@pytest.mark.parametrize("where", ["q", "k", "v"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("rows", [5, 21])
def test_attention_is_finite_where_float64_is(kernel, where, value, rows):
    rng = np.random.default_rng(rows)
    arrays = {name: rng.standard_normal((rows, 4)).astype(np.float32) for name in "qkv"}
    arrays[where][2, 1] = value
    with NativePool(1) as pool:
        out = attend(*arrays.values(), pool, kernel=kernel, heads=1, scale=0.5, lengths=[rows])
    q, k, v = (array.astype(np.float64) for array in arrays.values())
    with np.errstate(all="ignore"):
        scores = 0.5 * q @ k.T
        weights = np.exp(scores - scores.max(1, keepdims=True))
        expected = weights / weights.sum(1, keepdims=True) @ v
    assert np.array_equal(np.isfinite(out), np.isfinite(expected))
    kept = np.isfinite(expected)
    np.testing.assert_allclose(out[kept], expected[kept], atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_query_whose_scores_are_all_infinite(kernel, sign):
    """Every key is infinitely near, or infinitely far: no weights can be told, in float64 neither."""
    q = np.full((9, 2), np.inf, np.float32)
    k = sign * np.ones((9, 2), np.float32)
    with NativePool(1) as pool:
        out = attend(q, k, k, pool, kernel=kernel, heads=1, scale=1.0, lengths=[9])
    assert np.isnan(out).all()
