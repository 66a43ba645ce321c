"""Running an exported folder without torch: numpy, onnxruntime, `tokenizers` for texts and Pillow for images."""

from platon_compress.lazy import lazy_names

_HOMES = {"Runner": "platon_compress.runtime.runner", "load": "platon_compress.runtime.runner"}

__all__ = ["Runner", "load"]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
