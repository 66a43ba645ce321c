"""A program for environments of other versions: one file, one answer. Needs numpy, onnx and onnxruntime alone.

python everywhere.py LIBRARY WAY MODEL... prints for each model the largest difference to the stored answer, with the
library and without. Beside `m.onnx` lies `m.npz`: the inputs by name, and `wanted` for the first output.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort


def as_it_is(path: Path) -> onnx.ModelProto:
    return onnx.load(path)


def extracted(path: Path) -> onnx.ModelProto:
    whole = onnx.load(path)
    part = path.with_suffix(".part")
    inputs, outputs = ([value.name for value in values] for values in (whole.graph.input, whole.graph.output))
    onnx.utils.extract_model(str(path), str(part), inputs, outputs)
    return onnx.load(part)


def slimmed(path: Path) -> onnx.ModelProto:
    import onnxslim

    return onnxslim.slim(str(path))


def through_graphsurgeon(path: Path) -> onnx.ModelProto:
    import onnx_graphsurgeon

    graph = onnx_graphsurgeon.import_onnx(onnx.load(path))
    return onnx_graphsurgeon.export_onnx(graph.cleanup().toposort())


def optimized(path: Path) -> onnx.ModelProto:
    """What ONNX Runtime saves, without our library: nothing of ours is left in it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(path.with_suffix(".optimized"))
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return onnx.load(options.optimized_model_filepath)


def quantized(path: Path) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    target = path.with_suffix(".int8")
    # ONNX Runtime's own advice: with 8 bits its sums saturate on processors without VNNI.
    quantize_dynamic(path, target, weight_type=QuantType.QInt8, reduce_range=True)
    return onnx.load(target)


def prefixed(path: Path) -> onnx.ModelProto:
    """Names of functions change too: the file then runs its bodies. The inputs keep their names here."""
    keep = {"rename_inputs": False, "rename_outputs": False}
    return onnx.compose.add_prefix(onnx.load(path), "left_", **keep)


def prefixed_and_restored(path: Path) -> onnx.ModelProto:
    """docs/operator.md: without the prefix, nodes are ours again."""
    model = prefixed(path)
    for node in (*model.graph.node, *model.functions):
        if node.domain == "platon":
            field = "op_type" if hasattr(node, "op_type") else "name"
            setattr(node, field, getattr(node, field).removeprefix("left_"))
    return model


WAYS = {
    way.__name__: way
    for way in (
        as_it_is, extracted, slimmed, through_graphsurgeon, optimized, quantized, prefixed, prefixed_and_restored
    )
}  # fmt: skip


def difference(model: onnx.ModelProto, stored: dict[str, np.ndarray], library: str | None) -> float:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if library:
        options.register_custom_ops_library(library)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {value.name: stored[value.name] for value in session.get_inputs()}
    return float(np.abs(session.run(None, feed)[0] - stored["wanted"]).max())


def reference(model: onnx.ModelProto, stored: dict[str, np.ndarray]) -> float:
    from onnx.reference import ReferenceEvaluator

    feed = {value.name: stored[value.name] for value in model.graph.input}
    return float(np.abs(ReferenceEvaluator(model).run(None, feed)[0] - stored["wanted"]).max())


def main(library: str, way: str, *paths: str) -> None:
    found = {}
    for path in map(Path, paths):
        stored = dict(np.load(path.with_suffix(".npz")))
        model = WAYS[way](path)
        found[path.stem] = [difference(model, stored, own) for own in (library, None)]
        if way == "as_it_is":
            found[path.stem].append(reference(model, stored))
    sys.stdout.write(json.dumps({"onnxruntime": ort.__version__, "found": found}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
