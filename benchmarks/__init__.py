"""Measuring: latency in interleaved pairs, sizes, and the report with its verdict."""

import importlib
from typing import Any

_HOMES = {
    "run_benchmark": "platon_compress.benchmarks.model_bench",
    "write_report": "platon_compress.benchmarks.report",
}

__all__ = ["run_benchmark", "write_report"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
