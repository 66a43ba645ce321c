"""Measures dense and CSR linear layers in ONNX Runtime on this machine, and writes the planner's cost table.

All sides run as they would in a model: real sessions on the same threads, X [1, rows, in], MatMul + Add against
`platon::PlatonLinear_plain_csr`, and against `platon::PlatonLinear_plain_csr_int8` where 8-bit values are measured too.
Each session holds several layers of the same shape with different weights, so that the start of a run is shared and the
weights are not all in the first cache. Dense and every density of a cell are called
in turn (A B C A B C ...), and a side's seconds are its fastest: other load on the machine only ever adds time, and it
adds more to the longer side, which would flatter CSR in any average. A cell is repeated until the three fastest of
every side agree; one that never settles is marked. CSR seconds are smoothed so that they never fall as the density
rises, those of each value type by themselves.
Masks are uniformly random, of single weights or, for a model that holds them, of 4x1 blocks: a trained mask with
uneven rows can be slower.
"""

import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from scipy.optimize import isotonic_regression

from platon_compress.errors import InputError
from platon_compress.export.quantize import quantize_rows
from platon_compress.export.session import open_session
from platon_compress.files import write_text
from platon_compress.formats.csr import CsrWeight
from platon_compress.library import selected_kernel
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.random_masks import random_mask
from platon_compress.measure.timing import measure_interleaved
from platon_compress.progress import Progress
from platon_compress.schemas import stamped

if TYPE_CHECKING:
    from platon_compress.baking import BakedModel, BakedWeight
    from platon_compress.planning import PlanConfig

__all__ = [
    "DEFAULT_DENSITIES",
    "DEFAULT_SHAPES",
    "CalibrationScope",
    "calibrate",
    "calibration_scope",
    "settled_samples",
    "write_cost_table",
]

DEFAULT_SHAPES = (
    (256, 256),
    (384, 384),
    (1536, 384),
    (384, 1536),
    (768, 768),
    (3072, 768),
    (768, 3072),
    (1024, 1024),
    (4096, 1024),
    (1024, 4096),
)
"""[out, in] of the linear layers of small encoders, MiniLM, BERT-base and BERT-large."""

DEFAULT_DENSITIES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Up to no zeros at all: trained masks are uneven, and leave some layers of a model with 80 % zeros more than half full."""

_CELL = ("out", "in", "rows", "threads")
_COPIES = 4
_RUNS, _WARMUP = 7, 2
_PAUSE_SECONDS = 0.02
_LONGEST_SECONDS_A_SIDE, _AGREEMENT = 0.7, 1.1
_MASKS = {1: "uniformly random", 4: "uniformly random 4x1 blocks"}  # by the rows that share a mask
_LEAST_IN_BLOCKS = 0.9

_Side = tuple[str, float]  # what is measured: "dense", "csr" or "csr_int8", and the density
_DENSE: _Side = ("dense", 1.0)
_OPERATORS = {"csr": "PlatonLinear_plain_csr", "csr_int8": "PlatonLinear_plain_csr_int8"}


@dataclass(frozen=True, kw_only=True)
class CalibrationScope:
    """What to measure: every combination of the four. Shapes are [out_features, in_features].

    block_rows: 1, masks of single weights, or 4, masks of 4x1 blocks.
    """

    shapes: tuple[tuple[int, int], ...]
    densities: tuple[float, ...]
    rows: tuple[int, ...]
    threads: tuple[int, ...]
    block_rows: int = 1

    def __post_init__(self) -> None:
        for name in ("shapes", "densities", "rows", "threads"):
            if not getattr(self, name):
                raise InputError(f"nothing to calibrate: {name} is empty; give at least one")
        for count in (*(n for shape in self.shapes for n in shape), *self.rows, *self.threads):
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise InputError(
                    f"shapes, rows and threads must be whole numbers >= 1, got {count!r}; write for example 128"
                )
        for density in self.densities:
            if not 0 < density <= 1:
                raise InputError(f"densities must be in (0, 1], got {density!r}; 0.1 keeps one weight in ten")
        if self.block_rows not in _MASKS:
            raise InputError(
                f"block_rows must be 1 (single weights) or 4 (4x1 blocks), got {self.block_rows!r}; 1 measures plain masks"
            )


def calibration_scope(baked: "BakedModel", config: "PlanConfig") -> CalibrationScope:
    """What the plan of this very model will ask: its shapes, and densities from its sparsest weight's up.

    Up to 1, because weights that shrink become denser; their shapes too, where the others' say nothing of them. Masks are of
    4x1 blocks where every weight of the model holds at least 0.9 of its non-zeros in such blocks.
    """
    from platon_compress.planning.cost import apart
    from platon_compress.planning.planner import shrunk_shapes

    shapes = sorted({weight.shape for weight in baked.weights})
    for shrunk in sorted(shrunk_shapes(baked)):
        if all(apart((*shrunk, 1, 1), (*shape, 1, 1)) is None for shape in shapes):
            shapes.append(shrunk)
    lowest = min(weight.density for weight in baked.weights)
    below = max((d for d in DEFAULT_DENSITIES if d <= lowest), default=DEFAULT_DENSITIES[0])
    return CalibrationScope(
        shapes=tuple(shapes),
        densities=tuple(d for d in DEFAULT_DENSITIES if d >= below),
        rows=(config.rows,),
        threads=(config.used_threads,),
        block_rows=4
        if all(_share_in_blocks(baked, weight) >= _LEAST_IN_BLOCKS for weight in baked.weights)
        else 1,
    )


def calibrate(
    shapes: Iterable[tuple[int, int]],
    densities: Iterable[float],
    rows: Iterable[int],
    threads: Iterable[int],
    *,
    block_rows: int = 1,
    int8: bool = True,
    runs: int = _RUNS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure every combination; the cost table as :meth:`platon_compress.planning.CostTable.from_dict` reads it.

    ``int8``: CSR with 8-bit values too, which `plan.values: auto` needs and which takes nearly as long again.
    ``progress(done, total)`` is called after each cell (shape, rows, threads). A cell takes about
    ``(runs + 2) * (20 ms + 4 layers)`` for dense and for every density and value type of CSR; on a busy machine it is
    repeated for some seconds. The table's ``unsettled_cells`` counts those that never settled: measure again on a quieter
    machine.

    Raises:
        InputError: an empty or impossible scope, or an installation without the operator library.
    """
    scope = CalibrationScope(
        shapes=tuple(shapes),
        densities=tuple(sorted(densities)),
        rows=tuple(rows),
        threads=tuple(threads),
        block_rows=block_rows,
    )
    cells = [(shape, count, used) for shape in scope.shapes for count in scope.rows for used in scope.threads]
    measured: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="platon-calibrate-") as folder:
        for done, (shape, count, used) in enumerate(cells, start=1):
            paths = _models(Path(folder), shape, _sides(scope.densities, int8), block_rows)
            measured += _measure_cell(paths, shape, count, used, runs)
            if progress is not None:
                progress(done, len(cells), "dense against CSR")
    return _table(measured, runs, _MASKS[block_rows])


def write_cost_table(table: dict[str, Any], path: Path | str) -> Path:
    """Write ``table`` as JSON, one row a line."""
    path = Path(path)
    head = {key: value for key, value in table.items() if key != "rows"}
    rows = ",\n  ".join(json.dumps(row) for row in table["rows"])
    text = json.dumps(head, indent=1).removesuffix("\n}") + f',\n "rows": [\n  {rows}\n ]\n}}\n'
    return write_text(path, text)


def _share_in_blocks(baked: "BakedModel", weight: "BakedWeight") -> float:
    """Non-zeros in whole 4x1 blocks (four aligned rows, one column) / all non-zeros; 1 where there are none."""
    kept = baked.model.get_parameter(weight.name) != 0
    groups = kept[: len(kept) // 4 * 4].unflatten(0, (-1, 4)) if len(kept) >= 4 else kept[:0, None]
    total = int(kept.sum())
    return 4 * int(groups.all(1).sum()) / total if total else 1.0


def _table(rows: list[dict[str, Any]], runs: int, masks: str) -> dict[str, Any]:
    isa = selected_kernel()
    environment = describe_environment(isa=isa)
    content = {
        "cpu": environment["cpu_model"],
        "isa": isa,
        "onnxruntime": environment["packages"].get("onnxruntime"),
        "method": {"masks": masks, "layers_per_session": _COPIES, "runs": runs},
        "environment": environment,
        "unsettled_cells": len({tuple(row[k] for k in _CELL) for row in rows if not row["settled"]}),
        "rows": rows,
    }
    return stamped("cost-table", content)


def _sides(densities: Sequence[float], int8: bool) -> tuple[_Side, ...]:
    kinds = _OPERATORS if int8 else ("csr",)
    return (_DENSE, *((kind, density) for kind in kinds for density in densities))


def _measure_cell(
    paths: dict[_Side, Path], shape: tuple[int, int], rows: int, threads: int, runs: int
) -> list[dict[str, Any]]:
    """One row per density."""
    x = np.random.default_rng(0).standard_normal((1, rows, shape[1]), dtype=np.float32)
    runners = {str(side): _runner(path, x, threads, sparse=side != _DENSE) for side, path in paths.items()}
    samples, settled = settled_samples(runners, runs)
    seconds = {side: min(samples[str(side)]) / _COPIES for side in paths}
    densities = [density for kind, density in paths if kind == "csr"]
    columns = {
        f"{kind}_seconds": _not_falling([seconds[kind, density] for density in densities])
        for kind in _OPERATORS
        if (kind, densities[0]) in paths
    }
    return [
        {
            "out": shape[0],
            "in": shape[1],
            "density": density,
            "rows": rows,
            "threads": threads,
            "dense_seconds": _rounded(seconds[_DENSE]),
            **{name: _rounded(column[place]) for name, column in columns.items()},
            "settled": settled,
        }
        for place, density in enumerate(densities)
    ]


def settled_samples(
    sides: Mapping[str, Callable[[], object]], runs: int
) -> tuple[dict[str, tuple[float, ...]], bool]:
    """Seconds per side, and whether the three fastest of every side agree."""
    samples: dict[str, tuple[float, ...]] = dict.fromkeys(sides, ())
    settled, deadline = False, time.monotonic() + _LONGEST_SECONDS_A_SIDE * len(sides)
    while not settled:
        warmup = 0 if all(samples.values()) else _WARMUP
        more = measure_interleaved(sides, runs=runs, warmup=warmup, pause_seconds=_PAUSE_SECONDS)
        samples = {name: (*samples[name], *more[name]) for name in sides}
        settled = all(_agree(values) for values in samples.values())
        if time.monotonic() > deadline:
            break
    return samples, settled


def _agree(values: Sequence[float]) -> bool:
    fastest = sorted(values)[:3]
    return len(fastest) == 3 and fastest[-1] <= fastest[0] * _AGREEMENT


def _not_falling(seconds: Sequence[float]) -> list[float]:
    """The nearest sequence (least squares) that never falls: more non-zeros never take less time."""
    return [float(value) for value in isotonic_regression(seconds).x]


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def _runner(path: Path, x: np.ndarray, threads: int, *, sparse: bool) -> Callable[[], object]:
    session = open_session(path, threads=threads, use_library=sparse, stop_spinning=True)
    return lambda: session.run(None, {"X": x})


def _models(
    folder: Path, shape: tuple[int, int], sides: Sequence[_Side], block_rows: int = 1
) -> dict[_Side, Path]:
    """Files for one shape; made once per shape and reused by its cells."""
    paths = {side: folder / f"{shape[0]}x{shape[1]}-{side[0]}-{side[1]}.onnx" for side in sides}
    for side, path in paths.items():
        if not path.exists():
            onnx.save(_model(shape, side, block_rows), path)
    return paths


def _model(shape: tuple[int, int], side: _Side, block_rows: int = 1) -> onnx.ModelProto:
    """``_COPIES`` layers side by side on one input, each with its own weight."""
    kind, density = side
    rng = np.random.default_rng(1)
    nodes, initializers, outputs = [], [], []
    for number in range(_COPIES):
        weight = rng.standard_normal(shape, dtype=np.float32) * np.float32(shape[1] ** -0.5)
        bias = rng.standard_normal(shape[0], dtype=np.float32)
        if kind == "dense":
            arrays = {"weight_t": weight.T}
        else:
            arrays = _csr_arrays(weight * random_mask(rng, shape, density, block_rows), kind)
        initializers += [
            numpy_helper.from_array(np.ascontiguousarray(a), f"{n}{number}")
            for n, a in {**arrays, "bias": bias}.items()
        ]
        names = [f"{name}{number}" for name in (*arrays, "bias")]
        nodes += _dense_nodes(number) if kind == "dense" else [_sparse_node(kind, names, number, shape)]
        outputs.append(helper.make_tensor_value_info(f"Y{number}", TensorProto.FLOAT, [1, "rows", shape[0]]))
    x = helper.make_tensor_value_info("X", TensorProto.FLOAT, [1, "rows", shape[1]])
    graph = helper.make_graph(nodes, "linears", [x], outputs, initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("platon", 1)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def _csr_arrays(weight: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """In the order in which the operator takes them."""
    csr = CsrWeight.from_dense(weight)
    arrays = {"values": csr.values, "columns": csr.columns, "row_starts": csr.row_starts}
    if kind == "csr":
        return arrays
    return dict(zip((*arrays, "row_scales"), quantize_rows(**arrays), strict=True))


def _dense_nodes(number: int) -> list[onnx.NodeProto]:
    return [
        helper.make_node("MatMul", ["X", f"weight_t{number}"], [f"XW{number}"]),
        helper.make_node("Add", [f"XW{number}", f"bias{number}"], [f"Y{number}"]),
    ]


def _sparse_node(kind: str, inputs: Sequence[str], number: int, shape: tuple[int, int]) -> onnx.NodeProto:
    return helper.make_node(
        _OPERATORS[kind],
        ["X", *inputs],
        [f"Y{number}"],
        domain="platon",
        out_features=shape[0],
        in_features=shape[1],
    )
