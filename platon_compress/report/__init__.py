"""The report of a run: model card, HTML page and the verdict."""

import importlib
from typing import Any

__all__ = ["write_report"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("platon_compress.report.writing"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
