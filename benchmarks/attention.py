"""Attention alone, in floats and in 8-bit numbers, every kernel set in turn.

    python benchmarks/attention.py
    python benchmarks/attention.py --sizes 1x384,8x128 --runs 60

12 heads of 64 features, panels in and out as between two sparse layers, a mask of keys. Ratios are medians of pairs; one
thread is measured in seconds of the processor, which other processes do not lengthen but through the caches.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from study import add_output, counts, keep, names, run_study, study_parser, watched

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativePool, attend, pack_rows
from platon_compress.library import supported_kernels
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare, measure_interleaved
from platon_compress.schemas import stamped

__all__ = ["main"]

_HEADS, _SIZE = 12, 64  # of BERT-base
_SIZES = ("1x384", "8x128", "1x128", "1x64", "1x16")


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "attention")
    parser.add_argument("--threads", type=counts, default=(1,), help="one after the other, default 1")
    parser.add_argument("--sizes", type=names, default=_SIZES, help="batch x tokens")
    parser.add_argument("--runs", type=int, default=40, help="rounds per cell")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    rows = []
    with watched("attention") as progress:
        for threads in options.threads:
            with NativePool(threads) as pool:
                for number, size in enumerate(options.sizes):
                    progress(number, len(options.sizes), size)
                    rows.append(_measured(*_parsed(size), pool, options.runs))
                    yield _line(rows[-1])
    content = {"environment": describe_environment(threads=max(options.threads)), "rows": rows}
    yield keep(options, stamped("attention", content), title="Attention alone", masks="none")


def _parsed(size: str) -> tuple[int, int]:
    batch, _, tokens = size.partition("x")
    if not (batch.isdigit() and tokens.isdigit() and int(batch) and int(tokens)):
        raise InputError(f"a size must be batch x tokens, as 8x128, got {size!r}")
    return int(batch), int(tokens)


def _measured(batch: int, tokens: int, pool: NativePool, runs: int) -> dict[str, Any]:
    clock = time.process_time if pool.threads == 1 else time.perf_counter
    samples = measure_interleaved(_sides(batch, tokens, pool), runs=runs, warmup=3, clock=clock)
    pairs = {kernel: (f"float32 {kernel}", f"int8 {kernel}") for kernel in supported_kernels()[1:]}
    ratios = [compare(samples, baseline=b, candidate=c).to_dict() for b, c in pairs.values()]
    setting = {"batch": batch, "tokens": tokens, "threads": pool.threads, "clock": clock.__name__}
    return setting | {"seconds": {side: list(taken) for side, taken in samples.items()}, "ratios": ratios}


def _sides(batch: int, tokens: int, pool: NativePool) -> Mapping[str, Callable[[], object]]:
    rng = np.random.default_rng(0)
    shape = (batch * tokens, _HEADS * _SIZE)
    operands = [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
    settings: dict[str, Any] = {
        "heads": _HEADS, "scale": _SIZE**-0.5, "lengths": [tokens] * batch, "panels": ("input", "output"),
        "mask": np.zeros((batch, 1, 1, tokens), np.float32), "out": np.empty(shape, np.float32),
    }  # fmt: skip
    sides: dict[str, Callable[[], object]] = {}
    for kernel in supported_kernels()[1:]:
        q, k, v = (pack_rows(operand, pool, kernel=kernel) for operand in operands)
        for products in ("float32", "int8"):
            sides[f"{products} {kernel}"] = partial(
                attend, q, k, v, pool, kernel=kernel, products=products, **settings
            )
    return sides


def _line(row: Mapping[str, Any]) -> str:
    speeds = "; ".join(f"{ratio['candidate']} {ratio['median']:.2f}x" for ratio in row["ratios"])
    return f"{row['batch']} x {row['tokens']}, threads {row['threads']}: {speeds}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
