"""The sparse kernels alone, over the layer shapes of common encoders, against this machine's ceilings.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --models bert-base --blocks 1,4 --name kernel-blocks -o benchmarks/results

Models are files of benchmarks/shapes, and bert-base, which is built in. plot_roofline.py draws the result. The same
measurement for shapes of your own: `platon-compress bench kernel`.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import add_output, counts, floats, keep, names, run_study, study_parser, watched

from platon_compress.errors import InputError
from platon_compress.measure.kernel_bench import KernelBenchConfig, run_kernel_bench

__all__ = ["SHAPES", "main"]

SHAPES = Path(__file__).parent / "shapes"
_BUILT_IN = "bert-base"


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    known = ",".join([_BUILT_IN, *sorted(path.stem for path in SHAPES.glob("*.json"))])
    parser = study_parser(__doc__)
    add_output(parser, "kernel")
    parser.add_argument("--models", type=names, default=names(known), help=f"default {known}")
    parser.add_argument("--densities", type=floats, default=(0.2, 0.1, 0.05), help="shares of non-zeros")
    parser.add_argument("--rows", type=counts, default=(16, 128), help="rows of the activations")
    parser.add_argument("--blocks", type=counts, default=(1,), help="1: single weights, 4: blocks of 4x1")
    parser.add_argument("--runs", type=int, default=20, help="rounds per cell")
    return run_study(_measure, parser, arguments)


def _measure(options: argparse.Namespace) -> Iterator[str]:
    config = KernelBenchConfig(
        models=tuple(_shape_file(name) for name in options.models),
        densities=options.densities,
        rows=options.rows,
        threads=(options.threads,) if options.threads else (1, 2),
        blocks=options.blocks,
        runs=options.runs,
    )
    with watched("kernels") as progress:
        report = run_kernel_bench(config, progress=progress)
    yield from report.block_lines()
    result = _named_by_stem(report.to_dict())
    yield keep(options, result, title="Kernels alone")


def _shape_file(name: str) -> str:
    path = SHAPES / f"{name}.json"
    if name != _BUILT_IN and not path.is_file():
        known = ", ".join([_BUILT_IN, *sorted(path.stem for path in SHAPES.glob("*.json"))])
        raise InputError(f"no shapes {name!r}; choose from {known}, or add {path.name} to benchmarks/shapes")
    return name if name == _BUILT_IN else str(path)


def _named_by_stem(result: Mapping[str, Any]) -> dict[str, Any]:
    """Models by name, not by the path of this machine."""
    config = {**result["config"], "models": [Path(model).stem for model in result["config"]["models"]]}
    rows = [{**row, "model": Path(row["model"]).stem} for row in result["rows"]]
    return {**result, "config": config, "rows": rows}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
