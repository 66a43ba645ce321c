"""Bytes on disk of a BERT-base with random masks: dense in several forms, and ours in each encoding.

    python benchmarks/sizes.py
    python benchmarks/sizes.py --sparsity 0.5,0.8,0.9 -o benchmarks/results

Nothing is timed. The bound beside them: the entropy of the mask, 7 or 8 bits a non-zero, and everything else as it is in
our smallest file. Most of the time goes into choosing dense int8's settings.
"""

import argparse
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from study import add_output, keep, run_study, study_parser, watched
from targets import add_random, export_random, random_stem, target_named

from platon_compress.export.gaps import decode_gaps
from platon_compress.export.model_file import write_model
from platon_compress.export.operators import DOMAIN, OPERATORS
from platon_compress.export.quantize import quantize_weights
from platon_compress.export.round_model import quantize_tables
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.size import model_files
from platon_compress.schemas import stamped

__all__ = ["ENCODINGS", "main"]

ENCODINGS: Mapping[str, dict[str, Any] | None] = {
    "float32": None,
    "8 bits, whole columns": {"encoding": "csr_int8"},
    "8 bits, mask": {"gap_bits": (1,)},
    "8 bits, gaps": {"gap_bits": tuple(range(2, 9))},
    "8 bits, smallest": {},
}
"""Ours, and what `quantize_weights` is told for each."""

_CHUNK_BYTES = 2**24


def main(arguments: list[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "sizes-bert-base")
    parser.add_argument("--model", default="bert-base", help="of targets.py, default bert-base")
    add_random(parser, sparsity="0.5,0.8,0.9")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    target, rows = target_named(options.model), []
    with watched("sizes") as progress:
        for place, sparsity in enumerate(options.sparsity):
            progress(place, len(options.sparsity), f"{sparsity:.0%} zeros")
            folder = options.onnx / random_stem(options.model, sparsity)
            export_random(target, sparsity, folder, pruned=True)
            for row in (*_dense(folder), *_ours(folder)):
                rows.append({"sparsity": sparsity, **row})
                yield f"{sparsity:.0%}, {row['form']}, embeddings {row['embeddings']}: {row['bytes'] / 1e6:.1f} MB"
    content = {"environment": describe_environment(), "model": target.title, "rows": rows}
    yield keep(options, stamped("sizes", content), title=f"{target.title} on disk")


def _row(form: str, size: float, embeddings: str = "float32") -> dict[str, Any]:
    return {"form": form, "embeddings": embeddings, "bytes": round(size)}


def _on_disk(path: Path) -> int:
    return sum(file.stat().st_size for file in model_files(path))


def _dense(folder: Path) -> Iterator[dict[str, Any]]:
    yield _row("dense float32", _on_disk(folder / "dense.onnx"))
    yield _row("dense float16", _half_bytes(folder / "dense.onnx"), "float16")
    yield _row("dense int8", _on_disk(folder / "dense-int8.onnx"), "int8")
    yield _row("zeros in dense float32, zipped", _zipped_bytes(folder / "pruned.onnx"))


def _half_bytes(path: Path) -> int:
    """Every float32 tensor as float16. The file would not run: operators are left as they are."""
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            with np.errstate(over="ignore"):
                array = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    return int(model.ByteSize())


def _zipped_bytes(path: Path) -> int:
    packer, size = zlib.compressobj(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            size += len(packer.compress(chunk))
    return size + len(packer.flush())


def _ours(folder: Path) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory(prefix="platon-sizes-") as name:
        path = Path(name) / "model.onnx"
        for embeddings in ("float32", "int8"):
            for form, settings in ENCODINGS.items():
                model = ir.load(folder / "compressed.onnx")
                if settings is not None:
                    quantize_weights(model, **settings)
                if embeddings == "int8":
                    quantize_tables(model)
                write_model(model, path)
                yield _row(f"compressed, {form}", _on_disk(path), embeddings)
            yield from _bounds(path, embeddings)


def _bounds(path: Path, embeddings: str) -> Iterator[dict[str, Any]]:
    """Of the smallest file: its bytes but for places and values, and what those take at least, beside what they do take."""
    packed, places, nonzeros = 0, 0.0, 0
    for packed_bytes, elements, count in _packed_weights(onnx.load(path)):
        share = np.array([count, elements - count]) / elements
        places -= elements * float((share * np.log2(share)).sum()) / 8
        packed += packed_bytes
        nonzeros += count
    rest, taken = _on_disk(path) - packed, {"packed_bytes": packed, "nonzeros": nonzeros}
    for bits in (7, 8):
        least = rest + places + nonzeros * bits / 8
        yield _row(f"bound with {bits} bits a value", least, embeddings) | taken


def _packed_weights(model: onnx.ModelProto) -> Iterator[tuple[int, int, int]]:
    """Of every weight: bytes of values and gaps, elements, non-zeros."""
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in (node for node in model.graph.node if node.domain == DOMAIN):
        operator = OPERATORS[node.op_type]
        named = dict(zip(operator.inputs, node.input, strict=True))
        sizes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
        for weight in operator.weights:
            values, gaps = (
                onnx.numpy_helper.to_array(tensors[named[f"{weight.prefix}{part}"]])
                for part in ("values", "gaps")
            )
            count = decode_gaps(gaps, sizes[f"{weight.prefix}gap_bits"]).size
            yield values.nbytes + gaps.nbytes, weight.elements(sizes), count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
