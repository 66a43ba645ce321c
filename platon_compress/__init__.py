"""PLATON pruning of Hugging Face encoders, turned into ONNX models that really are smaller and faster.

Every name below is imported on first use, so that a deployment with only numpy and onnxruntime can
import `platon_compress.export` without torch, transformers or a compiler.
"""

from platon_compress.lazy import lazy_names

__version__ = "0.1.0"

_HOMES = {
    "PlanConfig": "platon_compress.planning",
    "PlatonCallback": "platon_compress.pruning",
    "PruneConfig": "platon_compress.pruning",
    "Pruner": "platon_compress.pruning",
    "bake": "platon_compress.baking",
    "convert": "platon_compress.conversion",
    "keep_zeros": "platon_compress.zeros",
    "load_compressed": "platon_compress.compressed",
    "plan": "platon_compress.planning",
    "push_to_hub": "platon_compress.hub",
    "save_compressed": "platon_compress.compressed",
}

__all__ = [
    "PlanConfig",
    "PlatonCallback",
    "PruneConfig",
    "Pruner",
    "bake",
    "convert",
    "keep_zeros",
    "load_compressed",
    "plan",
    "push_to_hub",
    "save_compressed",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
