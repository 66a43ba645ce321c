"""Running an exported folder without torch: numpy, onnxruntime, `tokenizers` for texts and Pillow for images."""

import importlib
from typing import Any

_HOMES = {"Runner": "platon_compress.runtime.runner", "load": "platon_compress.runtime.runner"}

__all__ = ["Runner", "load"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
