"""The kernels alone: every instruction set this processor has, by threads."""

from functools import partial
from pathlib import Path
from typing import Any

from parts.cells import Cell, Part, Setup

from platon_compress.library import supported_kernels
from platon_compress.measure.kernel_bench import KernelBenchConfig, run_kernel_bench

__all__ = ["KERNELS"]

_TINY_SHAPES = Path(__file__).with_name("tiny-shapes.json")
_DENSITIES = (0.2, 0.1, 0.05)
_RUNS = 15


def _cells(setup: Setup) -> tuple[Cell, ...]:
    """Single weights at the usual lengths first, then 4x1 blocks; the last kernel set alone where it is blocks."""
    sizes = (8,) if setup.tiny else (128, 16)
    cells = [_cell(setup, rows, threads, (1,)) for rows in sizes for threads in setup.threads]
    return (*cells, *(_cell(setup, sizes[0], threads, (1, 4)) for threads in setup.threads[:2]))


def _cell(setup: Setup, rows: int, threads: int, blocks: tuple[int, ...]) -> Cell:
    what = "4x1 and single weights" if len(blocks) > 1 else "single weights"
    return Cell(
        name=f"{what}, {rows} rows, {threads} threads",
        run=partial(_measure, setup.tiny, rows, threads, blocks),
    )


def _measure(tiny: bool, rows: int, threads: int, blocks: tuple[int, ...], seconds: float) -> dict[str, Any]:
    del seconds  # a fixed number of rounds: the kernels are quick
    kernels = supported_kernels()
    report = run_kernel_bench(
        KernelBenchConfig(
            models=(str(_TINY_SHAPES),) if tiny else ("bert-base",),
            densities=_DENSITIES[1:2] if tiny else _DENSITIES,
            rows=(rows,),
            threads=(threads,),
            blocks=blocks,
            kernels=kernels if len(blocks) == 1 else kernels[-1:],
            runs=2 if tiny else _RUNS,
            warmup=1,
        )
    )
    return report.to_dict()


KERNELS = Part(name="kernels", title="sparse kernels by instruction set and threads", share=2.0, cells=_cells)
