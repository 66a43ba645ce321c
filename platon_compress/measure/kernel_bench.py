"""How fast the sparse kernels are by themselves, against what this machine can do at most.

Two rates per row: useful GFLOP/s (2 nnz rows / seconds), which cannot pass the measured FMA ceiling, and
effective dense GFLOP/s (2 out in rows / seconds), what a dense kernel would need to be as fast. The load ceiling
matters more than the FMA ceiling: a non-zero costs one 32-byte load per 8 rows and one for its value; in 4x1 blocks
four non-zeros share the former.
Masks are uniformly random with a fixed seed, of single weights or of blocks; packing of the activations is included,
ONNX Runtime is not. One layer runs over and over, so its weights are as near as the caches allow, nearer than in a
whole model.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from platon_compress.errors import MISFITS, InputError
from platon_compress.export.kernels.native import NativeLinear, NativePool, burn
from platon_compress.library import kernel_names, kernel_supported, selected_kernel
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.random_masks import random_mask
from platon_compress.measure.timing import measure_interleaved
from platon_compress.progress import Progress
from platon_compress.schemas import stamped

__all__ = [
    "Ceilings",
    "KernelBenchConfig",
    "KernelReport",
    "KernelRow",
    "Shape",
    "bytes_loaded",
    "load_shapes",
    "measure_ceilings",
    "run_kernel_bench",
]

_LANES, _WIDEST = 8, 8  # rows per vector and vectors per panel, as in kernels.h
_PASS = 3  # vectors that a block is multiplied with at a time
_BLOCK_ROWS = (1, 4)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One linear layer of a model: how often it occurs, its sizes and the epilogue fused into it."""

    layer: str
    out_features: int
    in_features: int
    count: int = 1
    activation: str = ""


_BUILT_IN = {
    "bert-base": (
        Shape(layer="attention.query/key/value", out_features=768, in_features=768, count=36),
        Shape(layer="attention.output", out_features=768, in_features=768, count=12),
        Shape(layer="intermediate", out_features=3072, in_features=768, count=12, activation="gelu"),
        Shape(layer="output", out_features=768, in_features=3072, count=12),
    ),
}


@dataclass(frozen=True, kw_only=True)
class KernelBenchConfig:
    """What :func:`run_kernel_bench` measures: every combination of the first five.

    models: "bert-base", or paths of shape files (benchmarks/shapes).
    densities: shares of non-zeros in (0, 1]; rows: those of the activations; threads: pool sizes.
    blocks: features that share a mask: 1, single weights, or 4, blocks of 4 outputs by 1 input.
    kernels: kernel sets, empty for the one that a session would take here. Kernel sets and blocks are timed in turn, in
    pairs.
    runs, warmup, pause_seconds: as in :func:`platon_compress.measure.timing.measure_interleaved`.
    """

    models: tuple[str, ...] = ("bert-base",)
    densities: tuple[float, ...] = (0.2, 0.1, 0.05)
    rows: tuple[int, ...] = (16, 128)
    threads: tuple[int, ...] = (1, 2)
    blocks: tuple[int, ...] = (1,)
    kernels: tuple[str, ...] = ()
    runs: int = 20
    warmup: int = 3
    pause_seconds: float = 0.0  # layers of a model follow at once; after a pause the core answers late
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("models", "densities", "rows", "threads", "blocks"):
            if not getattr(self, name):
                raise InputError(f"nothing to measure: {name} is empty; give at least one")
        for density in self.densities:
            if not 0 < density <= 1:
                raise InputError(f"densities must lie in (0, 1], got {density}; 0.1 is 90 % zeros")
        for count in (*self.rows, *self.threads):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(
                    f"rows and threads must be whole numbers >= 1, got {count!r}; write for example 128"
                )
        if wrong := [block for block in self.blocks if block not in _BLOCK_ROWS]:
            raise InputError(
                f"blocks must be 1 (single weights) or 4 (4x1 blocks), got {wrong[0]!r}; 1 measures plain masks"
            )
        for kernel in self.kernels:
            if not kernel_supported(kernel):
                raise InputError(f"no kernels {kernel!r} here; choose one of {', '.join(_available())}")


@dataclass(frozen=True, kw_only=True)
class Ceilings:
    """The most that `kernel` reaches with `threads` threads: arithmetic on registers, loads from the L1 cache."""

    kernel: str
    threads: int
    fma_gflops: float
    load_gbytes_per_second: float


@dataclass(frozen=True, kw_only=True)
class KernelRow:
    """One layer, density, row count, thread count, kernel set and mask. `seconds` are the raw samples."""

    model: str
    layer: str
    out_features: int
    in_features: int
    count: int
    activation: str
    nnz: int
    density: float
    rows: int
    threads: int
    kernel: str
    block_rows: int
    packed_bytes: int
    seconds: tuple[float, ...]

    @property
    def median_seconds(self) -> float:
        return float(np.median(self.seconds))

    @property
    def useful_gflops(self) -> float:
        """2 nnz rows per median second, in 1e9."""
        return 2e-9 * self.nnz * self.rows / self.median_seconds

    @property
    def effective_dense_gflops(self) -> float:
        """2 out in rows per median second, in 1e9."""
        return 2e-9 * self.out_features * self.in_features * self.rows / self.median_seconds

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {
            "seconds": list(self.seconds),
            "median_seconds": self.median_seconds,
            "useful_gflops": self.useful_gflops,
            "effective_dense_gflops": self.effective_dense_gflops,
        }


@dataclass(frozen=True, kw_only=True)
class KernelReport:
    """The result of :func:`run_kernel_bench`."""

    config: KernelBenchConfig
    environment: Mapping[str, Any]
    ceilings: tuple[Ceilings, ...]
    rows: tuple[KernelRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, raw samples included; derived rates stand beside them."""
        content = {
            "config": asdict(self.config),
            "environment": dict(self.environment),
            "ceilings": [asdict(ceiling) for ceiling in self.ceilings],
            "rows": [row.to_dict() for row in self.rows],
        }
        return stamped("kernels", content)

    def block_lines(self) -> list[str]:
        """What 4x1 blocks gain: a line per density, rows, threads and kernels, medians of all a model's layers added.

        Empty where only one kind of mask was measured.
        """
        totals: dict[str, dict[int, float]] = {}
        for row in self.rows:
            cell = f"{row.model}, {row.density:.0%} non-zero, {row.rows} rows, {row.threads} threads, {row.kernel}"
            sums = totals.setdefault(cell, dict.fromkeys(self.config.blocks, 0.0))
            sums[row.block_rows] += row.count * row.median_seconds
        if len(self.config.blocks) < len(_BLOCK_ROWS):
            return []
        return [
            f"{cell}: 4x1 blocks {sums[4] * 1e3:.1f} ms, single weights {sums[1] * 1e3:.1f} ms, {sums[1] / sums[4]:.2f}x"
            for cell, sums in totals.items()
        ]


def load_shapes(model: str) -> tuple[Shape, ...]:
    """The linear layers of `bert-base`, or of a shape file (benchmarks/shapes); InputError when it is none."""
    if model in _BUILT_IN:
        return _BUILT_IN[model]
    try:
        shapes = tuple(Shape(**entry) for entry in json.loads(Path(model).read_text("utf-8"))["layers"])
    except OSError as error:
        raise InputError(
            f"no shapes {model!r}; choose {', '.join(_BUILT_IN)} or give a shape file"
        ) from error
    except (*MISFITS, RecursionError) as error:
        raise InputError(
            f"{model} is not a shape file: {error}; see benchmarks/shapes/bert-large.json"
        ) from error
    if not shapes:
        raise InputError(f"{model} lists no layers; see benchmarks/shapes/bert-large.json")
    return shapes


def bytes_loaded(nnz: int, rows: int, block_rows: int = 1) -> float:
    """Bytes that the vector kernels load into registers for the non-zeros, accumulators left out.

    A panel of w <= 8 groups of 8 rows costs 32 w bytes of activations, 4 of value and 1 of index per non-zero.
    The rows of a block share activations and index, but the panel is taken in ceil(w / 3) passes, with a value each.
    """
    groups = -(-rows // _LANES)
    panels = -(-groups // _WIDEST)
    if block_rows == 1:
        return nnz * (32.0 * groups + 5.0 * panels)
    narrow, wider = divmod(groups, panels)
    passes = (panels - wider) * -(-narrow // _PASS) + wider * -(-(narrow + 1) // _PASS)
    return nnz * (32.0 * groups / block_rows + (4.0 + 1.0 / block_rows) * passes)


def measure_ceilings(kernel: str, threads: int, *, seconds: float = 0.1) -> Ceilings:
    """The best of many short bursts over about `seconds` each: ceilings are maxima, not averages."""
    with NativePool(threads) as pool:
        fma = _best_rate(lambda rounds: burn(kernel, "fma", rounds, pool), seconds)
        load = _best_rate(lambda rounds: burn(kernel, "load", rounds, pool), seconds)
    return Ceilings(kernel=kernel, threads=threads, fma_gflops=fma * 1e-9, load_gbytes_per_second=load * 1e-9)


def run_kernel_bench(
    config: KernelBenchConfig | None = None, *, progress: Progress | None = None
) -> KernelReport:
    """Measures every combination; `progress(done, total)` is called after each."""
    chosen = config or KernelBenchConfig()
    kernels = chosen.kernels or (selected_kernel(),)
    cells = [
        (model, shape, density, rows)
        for model in chosen.models
        for shape in load_shapes(model)
        for density in chosen.densities
        for rows in chosen.rows
    ]
    measured: list[KernelRow] = []
    for threads in chosen.threads:
        with NativePool(threads) as pool:
            for model, shape, density, rows in cells:
                measured += _measure(chosen, kernels, pool, model, shape, density, rows)
                if progress is not None:
                    sides = len(kernels) * len(chosen.blocks)
                    progress(len(measured) // sides, len(cells) * len(chosen.threads))
    return KernelReport(
        config=chosen,
        environment=describe_environment(threads=max(chosen.threads), isa=kernels[-1]),
        ceilings=tuple(measure_ceilings(kernel, threads) for kernel in kernels for threads in chosen.threads),
        rows=tuple(measured),
    )


def _available() -> list[str]:
    return [name for name in kernel_names() if kernel_supported(name)]


def _best_rate(work: Callable[[int], int], seconds: float) -> float:
    """Work per second of the fastest burst; a burst lasts about a millisecond."""
    rounds = 1000
    while _rate(work, rounds)[1] < 1e-3 and rounds < 1 << 40:
        rounds *= 2
    deadline, best = time.perf_counter() + seconds, 0.0
    while time.perf_counter() < deadline:
        best = max(best, _rate(work, rounds)[0])
    return best


def _rate(work: Callable[[int], int], rounds: int) -> tuple[float, float]:
    start = time.perf_counter()
    done = work(rounds)
    elapsed = time.perf_counter() - start
    return done / elapsed, elapsed


def _random_layer(shape: Shape, density: float, block_rows: int, seed: int) -> tuple[NativeLinear, int]:
    rng = np.random.default_rng([seed, shape.out_features, shape.in_features])
    mask = random_mask(rng, (shape.out_features, shape.in_features), density, block_rows)
    columns = np.nonzero(mask)[1]
    starts = np.concatenate([[0], np.cumsum(mask.sum(axis=1))])
    linear = NativeLinear(
        rng.standard_normal(len(columns)).astype(np.float32),
        columns.astype(np.uint16 if shape.in_features <= 65536 else np.int32),
        starts.astype(np.int32),
        in_features=shape.in_features,
        out_features=shape.out_features,
        bias=rng.standard_normal(shape.out_features).astype(np.float32),
        activation=shape.activation,
    )
    return linear, len(columns)


def _measure(
    config: KernelBenchConfig,
    kernels: Sequence[str],
    pool: NativePool,
    model: str,
    shape: Shape,
    density: float,
    rows: int,
) -> Iterator[KernelRow]:
    layers = {block: _random_layer(shape, density, block, config.seed) for block in config.blocks}
    rng = np.random.default_rng(config.seed)
    x: npt.NDArray[np.float32] = rng.standard_normal((rows, shape.in_features)).astype(np.float32)
    out = np.empty((rows, shape.out_features), np.float32)
    sides = {f"{kernel} {block}": (kernel, block) for kernel in kernels for block in config.blocks}
    samples = measure_interleaved(
        {
            name: lambda kernel=kernel, block=block: layers[block][0].run(x, pool, kernel=kernel, out=out)  # type: ignore[misc]
            for name, (kernel, block) in sides.items()
        },
        runs=config.runs,
        warmup=config.warmup,
        pause_seconds=config.pause_seconds,
    )
    for name, (kernel, block) in sides.items():
        linear, nnz = layers[block]
        yield KernelRow(
            model=model,
            layer=shape.layer,
            out_features=shape.out_features,
            in_features=shape.in_features,
            count=shape.count,
            activation=shape.activation,
            nnz=nnz,
            density=density,
            rows=rows,
            threads=pool.threads,
            kernel=kernel,
            block_rows=block,
            packed_bytes=linear.packed_bytes,
            seconds=samples[name],
        )
    for linear, _ in layers.values():
        linear.close()
