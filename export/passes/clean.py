"""Fold what does not depend on the inputs, drop copies, name constants: the form the other passes expect."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx_ir as ir
from onnx_ir.passes import common as ir_passes
from onnxscript import optimizer

__all__ = ["clean", "drop_unused", "infer_shapes", "tidy"]

# Folded results above this many bytes would make the file grow (position tables, expanded masks).
_FOLD_LIMIT_BYTES = 256 * 1024
# Constants up to this many elements are merged when equal: shapes and scalars, so that nodes reading them compare
# equal too. Weights are not hashed.
_MERGED_CONSTANTS = 16


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxscript reports each operator that it cannot fold; nobody can act on that."""
    logger = logging.getLogger("onnxscript")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def clean(model: ir.Model) -> ir.Model:
    """Return the same function with constants folded and lifted, identities and duplicates removed, in place."""
    with _quiet():
        optimizer.fold_constants(
            model, input_size_limit=1024, output_size_limit=_FOLD_LIMIT_BYTES, onnx_shape_inference=False
        )
    ir_passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    infer_shapes(model)
    _bypass_copies(model.graph)
    tidy(model)
    return model


def tidy(model: ir.Model) -> None:
    """Merge equal small constants and equal nodes, and drop what nothing reads, in place."""
    ir_passes.DeduplicateInitializersPass(size_limit=_MERGED_CONSTANTS)(model)
    ir_passes.CommonSubexpressionEliminationPass()(model)
    drop_unused(model)


def infer_shapes(model: ir.Model) -> None:
    """Write what ONNX's shape inference finds onto the values, in place."""
    ir_passes.ShapeInferencePass()(model)


def drop_unused(model: ir.Model) -> None:
    """Remove nodes, initializers, functions and opset imports that nothing reads, in place."""
    ir_passes.RemoveUnusedNodesPass()(model)
    ir_passes.RemoveUnusedFunctionsPass()(model)
    ir_passes.RemoveUnusedOpsetsPass()(model)


def _bypass_copies(graph: ir.Graph) -> None:
    """Let readers of an Identity, or of a Cast to the type that is there, take its input; not the graph's outputs."""
    for node in tuple(graph):
        source = node.inputs[0] if _is_copy(node) else None
        if source is None or node.outputs[0].is_graph_output():
            continue
        node.outputs[0].replace_all_uses_with(source)
        graph.remove(node, safe=True)


def _is_copy(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        source = node.inputs[0]
        return source is not None and source.dtype == node.attributes["to"].as_int()
    return node.op_type == "Identity"
