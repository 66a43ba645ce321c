"""8-bit weights beside float32 ones: the same random masks, every kernel set in turn, layers and a whole BERT-base.

    python benchmarks/int8.py
    python benchmarks/int8.py --models none --rows 128 --threads 1

Layers: the whole operator with bias, rounding of the activations included. The model: dense, dense int8 (the best of
ONNX Runtime's usual settings), compressed in float32 and in 8 bits, back to back. Ratios are medians of pairs. On
processors with VNNI instructions dense int8 is the rival. One thread is measured in seconds of the processor, which
other processes do not lengthen but through the caches; more threads by the clock on the wall.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from study import add_output, counts, keep, names, run_study, study_parser, watched
from targets import add_random, export_int8, export_random, random_stem, rounds, target_named

from platon_compress.export.int8 import read_int8_choice
from platon_compress.export.kernels.native import NativeLinear, NativePool
from platon_compress.export.quantize import quantize_rows
from platon_compress.formats.csr import CsrWeight
from platon_compress.library import supported_kernels
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.random_masks import random_mask
from platon_compress.measure.sessions import caller_pinned, describe_inputs, make_inputs, open_on
from platon_compress.measure.timing import compare, measure_interleaved
from platon_compress.schemas import stamped

__all__ = ["main"]

SHAPES = ((768, 768), (3072, 768), (768, 3072))
"""(out_features, in_features) of BERT-base."""

Sides = Mapping[str, Callable[[], object]]
Cell = tuple[dict[str, Any], Callable[[], Sides], str, float]
"""Setting, what makes its sides, the baseline, the pause between calls in seconds."""


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "int8")
    parser.add_argument("--threads", type=counts, default=(1, 2), help="one after the other, default 1,2")
    parser.add_argument("--models", type=names, default=("bert-base",), help="of targets.py, or none")
    add_random(parser, sparsity="0.5,0.8,0.9,0.95")
    parser.add_argument("--rows", type=counts, default=(16, 128, 384), help="of the activations")
    parser.add_argument(
        "--pauses", type=counts, default=(5, 30), help="ms before a run of a model, default 5,30"
    )
    parser.add_argument("--runs", type=int, default=30, help="rounds per cell")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    layers, models = [], []
    with watched("int8") as progress:
        for threads in options.threads:
            progress(0, 1, f"layers, threads: {threads}")
            with NativePool(threads) as pool:
                for cell in _layer_cells(options, pool):
                    layers.append(_measured(cell, options.runs))
                    yield _line(layers[-1])
        progress(0, 1, "models")
        for cell in _model_cells(options):
            models.append(_measured(cell, options.runs))
            yield _line(models[-1])
    environment = describe_environment(threads=max(options.threads))
    content = {"environment": environment, "layers": layers, "models": models}
    yield keep(options, stamped("int8", content), title="8-bit weights")


def _measured(cell: Cell, runs: int) -> dict[str, Any]:
    """The setting with every side's samples, and each side's speed over the baseline."""
    setting, make, baseline, pause = cell
    runs = rounds(runs, setting.get("batch", 1), setting.get("tokens", 1))
    clock = time.process_time if setting["threads"] == 1 else time.perf_counter
    sides = make()
    with caller_pinned() if "model" in setting else nullcontext():
        samples = measure_interleaved(sides, runs=runs, warmup=3, pause_seconds=pause, clock=clock)
    ratios = [compare(samples, baseline=baseline, candidate=side) for side in samples if side != baseline]
    return setting | {
        "clock": clock.__name__,
        "baseline": baseline,
        "seconds": {side: list(seconds) for side, seconds in samples.items()},
        "ratios": [ratio.to_dict() for ratio in ratios],
    }


def _line(row: Mapping[str, Any]) -> str:
    setting = ", ".join(
        f"{key} {value}" for key, value in row.items() if isinstance(value, int | float | str)
    )
    speeds = "; ".join(f"{ratio['candidate']} {ratio['median']:.2f}x" for ratio in row["ratios"])
    return f"{setting}: {speeds}"


def _layer_cells(options: argparse.Namespace, pool: NativePool) -> Iterator[Cell]:
    for shape in SHAPES:
        for sparsity in options.sparsity:
            csr = _random_weight(shape, 1 - sparsity)
            layers = _layers(csr)
            for rows in options.rows:
                setting = {
                    "out_features": shape[0], "in_features": shape[1], "sparsity": sparsity, "rows": rows,
                    "threads": pool.threads, "nnz": int(csr.values.size),
                }  # fmt: skip
                yield setting, partial(_layer_sides, layers, shape, rows, pool), f"float32 {_sets()[0]}", 0.0


def _sets() -> tuple[str, ...]:
    """The vector sets of this processor, or what there is."""
    found = supported_kernels()
    return found[1:] or found


def _random_weight(shape: tuple[int, int], density: float) -> CsrWeight:
    rng = np.random.default_rng([0, *shape])
    dense = rng.standard_normal(shape).astype(np.float32)
    return CsrWeight.from_dense(dense * random_mask(rng, shape, density))


def _layers(csr: CsrWeight) -> dict[str, NativeLinear]:
    """The same weights in both forms."""
    rest: dict[str, Any] = {
        "out_features": csr.out_features,
        "in_features": csr.in_features,
        "bias": np.ones(csr.out_features, np.float32),
    }
    values, columns, row_starts, scales = quantize_rows(csr.values, csr.columns, csr.row_starts)
    return {
        "float32": NativeLinear(csr.values, csr.columns, csr.row_starts, **rest),
        "int8": NativeLinear(values, columns, row_starts, row_scales=scales, **rest),
    }


def _layer_sides(
    layers: Mapping[str, NativeLinear], shape: tuple[int, int], rows: int, pool: NativePool
) -> Sides:
    x = np.random.default_rng(1).standard_normal((rows, shape[1])).astype(np.float32)
    out = np.empty((rows, shape[0]), np.float32)
    return {
        f"{values} {kernel}": partial(layers[values].run, x, pool, kernel=kernel, out=out)
        for kernel in _sets()
        for values in ("float32", "int8")
    }


def _model_cells(options: argparse.Namespace) -> Iterator[Cell]:
    for name in (name for name in options.models if name != "none"):
        target = target_named(name)
        for sparsity in options.sparsity:
            folder = export_random(target, sparsity, options.onnx / random_stem(name, sparsity))
            choice = read_int8_choice(folder / "dense-int8.onnx")
            for (batch, tokens), threads, pause in product(target.cells, options.threads, options.pauses):
                size = export_int8(folder, tokens).stat().st_size
                setting = {
                    "model": name, "sparsity": sparsity, "batch": batch, "tokens": tokens or 0,
                    "threads": threads, "pause_ms": pause, "bytes": size, "rival": choice and choice.setting,
                }  # fmt: skip
                sides = partial(_model_sides, folder, batch, tokens, threads)
                yield setting, sides, "dense", pause / 1000


def _model_sides(folder: Path, batch: int, tokens: int | None, threads: int) -> Sides:
    files = {
        "dense": "dense.onnx",
        "dense int8": "dense-int8.onnx",
        "float32": "compressed.onnx",
        "int8": export_int8(folder, tokens).name,
    }
    sides: dict[str, Callable[[], object]] = {}
    for side, file in files.items():
        session = open_on(folder / file, threads=threads, pin_threads=True)
        feed = make_inputs(describe_inputs(session), batch=batch, tokens=tokens)
        sides[side] = partial(session.run, None, feed)
    return sides


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
