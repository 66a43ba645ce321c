"""Measuring: latency in interleaved pairs, sizes, memory, layer costs, and the environment they were taken in."""

import importlib
from typing import Any

__all__ = ["run_benchmark"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("platon_compress.measure.model_bench"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
