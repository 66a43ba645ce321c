"""Every kernel set of this machine against float64 NumPy, in a few seconds."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from platon_compress.errors import PlatonError, first_line
from platon_compress.export.kernels.native import NativeLinear, NativePool, attend
from platon_compress.library import supported_kernels

__all__ = ["check_kernels"]

_SHAPES = ((96, 64), (33, 257))  # outputs, inputs: whole vectors, and what is left of them
_ROWS = (1, 7, 64, 129)
_DENSITIES = (0.05, 0.5)
_RELATIVE = 1e-4  # of the sum of magnitudes that a result is summed from
_BYTES = 0.05  # 7 bits of a weight and 8 of an activation, of the result's own size


def check_kernels(threads: int) -> Iterator[tuple[str, bool, str]]:
    """(kernel set, passed, what was checked or went wrong) of each that this processor can run."""
    with NativePool(threads) as pool:
        for kernel in supported_kernels():
            try:
                worst = {name: check(kernel, pool) for name, check in _CHECKS.items()}
            except (PlatonError, AssertionError) as error:
                yield kernel, False, first_line(error)
                continue
            yield kernel, True, ", ".join(f"{name} within {value:.0e}" for name, value in worst.items())


def _floats(kernel: str, pool: NativePool, *, quads: bool = False) -> float:
    worst = 0.0
    for rng, weight, x in _layers(quads=quads):
        bias = rng.standard_normal(weight.shape[0]).astype(np.float32)
        exact = x.astype(np.float64) @ weight.T.astype(np.float64) + bias
        given = _linear(weight, bias).run(x, pool, kernel=kernel)
        scale = np.abs(x).astype(np.float64) @ np.abs(weight.T) + np.abs(bias)
        worst = max(worst, float((np.abs(given - exact) / (scale + 1e-9)).max()))
    return _within(worst, _RELATIVE, "floats")


def _quads(kernel: str, pool: NativePool) -> float:
    return _floats(kernel, pool, quads=True)


def _bytes(kernel: str, pool: NativePool) -> float:
    """Near to the floats, and equal to the portable kernels bit by bit: whole numbers have no rounding."""
    worst = 0.0
    for _, weight, x in _layers():
        layer = _linear(weight, None, quantized=True)
        given = layer.run(x, pool, kernel=kernel)
        if not np.array_equal(given, layer.run(x, pool, kernel="scalar")):
            raise AssertionError(f"8 bits: {kernel} and scalar differ at {x.shape[0]} rows")
        exact = x.astype(np.float64) @ weight.T
        worst = max(worst, float(np.linalg.norm(given - exact) / (np.linalg.norm(exact) + 1e-9)))
    return _within(worst, _BYTES, "8 bits")


def _attention(kernel: str, pool: NativePool) -> float:
    rng, heads, lengths = np.random.default_rng(0), 3, (5, 64, 70)
    q, k, v = (rng.standard_normal((sum(lengths), heads * 16)).astype(np.float32) for _ in range(3))
    given = attend(q, k, v, pool, kernel=kernel, heads=heads, scale=0.25, lengths=lengths)
    worst, start = 0.0, 0
    for length in lengths:
        own = slice(start, start + length)
        for head in (slice(h * 16, (h + 1) * 16) for h in range(heads)):
            scores = 0.25 * q[own, head].astype(np.float64) @ k[own, head].T
            weights = np.exp(scores - scores.max(1, keepdims=True))
            exact = weights / weights.sum(1, keepdims=True) @ v[own, head]
            worst = max(worst, float(np.abs(given[own, head] - exact).max()))
        start += length
    return _within(worst, _RELATIVE, "attention")


_CHECKS: dict[str, Callable[[str, NativePool], float]] = {
    "floats": _floats,
    "4x1": _quads,
    "8 bits": _bytes,
    "attention": _attention,
}


def _layers(*, quads: bool = False) -> Iterator[tuple[np.random.Generator, Any, Any]]:
    rng = np.random.default_rng(0)
    for out_features, in_features in _SHAPES:
        for density in _DENSITIES:
            rows = -(-out_features // 4) if quads else out_features
            mask = rng.random((rows, in_features)) < density
            if quads:
                mask = np.repeat(mask, 4, axis=0)[:out_features]
            weight = (rng.standard_normal((out_features, in_features)) * mask).astype(np.float32)
            for count in _ROWS:
                yield rng, weight, rng.standard_normal((count, in_features)).astype(np.float32)


def _linear(weight: Any, bias: Any, *, quantized: bool = False) -> NativeLinear:
    from platon_compress.export.quantize import quantize_rows
    from platon_compress.formats.csr import CsrWeight

    csr = CsrWeight.from_dense(weight)
    outputs, inputs = csr.out_features, csr.in_features
    scales = None
    values, columns, row_starts = csr.values, csr.columns, csr.row_starts
    if quantized:
        values, columns, row_starts, scales = quantize_rows(values, columns, row_starts)
    return NativeLinear(
        values, columns, row_starts, row_scales=scales, out_features=outputs, in_features=inputs, bias=bias
    )


def _within(worst: float, most: float, name: str) -> float:
    if not worst <= most:
        raise AssertionError(f"{name}: off by {worst:.1e}, at most {most:.0e} is right")
    return worst
