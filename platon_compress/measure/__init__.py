"""Measuring: latency in interleaved pairs, sizes, memory, layer costs, and the environment they were taken in."""

from platon_compress.lazy import lazy_names

_HOMES = {"run_benchmark": "platon_compress.measure.model_bench"}

__all__ = ["run_benchmark"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
