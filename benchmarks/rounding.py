"""Which neuron counts dense ONNX Runtime likes: the multiple that structured pruning rounds to.

A feed-forward block (linear, GELU, linear) is timed with neuron counts that are odd multiples of 1, 2, 4, ... near
one size, all in turn. The figure is seconds per neuron against the reference count, both at their fastest (other load
on the machine only ever adds time): 1.05 means that a neuron of this count costs 5 % more.

    python benchmarks/rounding.py
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from study import add_output, keep, run_study, study_parser, watched

from platon_compress.export.session import open_session
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import measure_interleaved
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

__all__ = ["counts_near", "main", "measure_rounding"]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_CASES = ((384, 128), (384, 512), (768, 1536))
"""(hidden size, neurons of the reference): MiniLM with a twelfth and a third of its neurons left, BERT-base with half."""

_COPIES = 4
_PAUSE_SECONDS = 0.02


def counts_near(reference: int) -> dict[int, int]:
    """multiple -> the largest count below ``reference`` that it divides and its double does not.

    The largest multiple stands for the reference itself.
    """
    largest = max(MULTIPLES)
    counts = {
        m: next(n for n in range(reference - m, 0, -1) if n % m == 0 and n % (2 * m)) for m in MULTIPLES
    }
    return counts | {largest: reference}


def measure_rounding(
    *,
    tokens: Sequence[int] = (32, 128),
    threads: Sequence[int] = (1, 2),
    runs: int = 25,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Rows {hidden, neurons, multiple, tokens, threads, seconds, cost_per_neuron}, and the raw samples."""
    rows: list[dict[str, Any]] = []
    cells = len(_CASES) * len(tokens) * len(threads)
    with tempfile.TemporaryDirectory(prefix="platon-rounding-") as folder:
        for hidden, reference in _CASES:
            counts = counts_near(reference)
            paths = {m: _write(Path(folder), hidden, n) for m, n in counts.items()}
            for count in tokens:
                for used in threads:
                    progress(len(rows) // len(MULTIPLES), cells, f"{reference} neurons, {count} tokens")
                    rows += _measure(paths, counts, hidden, count, used, runs)
    content = {"environment": describe_environment(), "summary": _summary(rows), "rows": rows}
    return stamped("rounding", content)


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "rounding")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    threads = (options.threads,) if options.threads else (1, 2)
    with watched("rounding") as progress:
        result = measure_rounding(threads=threads, progress=progress)
    for multiple, cost in result["summary"].items():
        yield f"multiples of {multiple}: {cost:.3f} of the reference's cost per neuron"
    yield keep(options, result, title="Neuron counts in dense ONNX Runtime", masks="none")


def _summary(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Median cost per neuron over all cells, by multiple."""
    return {
        str(m): round(statistics.median(row["cost_per_neuron"] for row in rows if row["multiple"] == m), 4)
        for m in MULTIPLES
    }


def _measure(
    paths: dict[int, Path], counts: dict[int, int], hidden: int, tokens: int, threads: int, runs: int
) -> list[dict[str, Any]]:
    x = np.random.default_rng(0).standard_normal((1, tokens, hidden), dtype=np.float32)
    sides = {str(multiple): _runner(path, x, threads) for multiple, path in paths.items()}
    samples = measure_interleaved(sides, runs=runs, warmup=3, pause_seconds=_PAUSE_SECONDS)
    reference = min(samples[str(max(MULTIPLES))])
    rows = []
    for multiple, neurons in counts.items():
        seconds = samples[str(multiple)]
        rows.append(
            {
                "hidden": hidden,
                "neurons": neurons,
                "multiple": multiple,
                "tokens": tokens,
                "threads": threads,
                "seconds": min(seconds) / _COPIES,
                "cost_per_neuron": round(min(seconds) / reference * counts[max(MULTIPLES)] / neurons, 4),
                "samples_seconds": [round(value, 7) for value in seconds],
            }
        )
    return rows


def _runner(path: Path, x: np.ndarray, threads: int) -> Callable[[], object]:
    session = open_session(path, threads=threads, use_library=False)
    return lambda: session.run(None, {"X": x})


def _write(folder: Path, hidden: int, neurons: int) -> Path:
    path = folder / f"{hidden}-{neurons}.onnx"
    onnx.save(_model(hidden, neurons), path)
    return path


def _model(hidden: int, neurons: int) -> onnx.ModelProto:
    """``_COPIES`` blocks one after the other, so that the weights are not all in the first cache."""
    rng = np.random.default_rng(1)
    nodes, initializers, name = [], [_scalar(np.sqrt(2), "sqrt2")], "X"
    initializers += [_scalar(value, key) for key, value in (("one", 1), ("half", 0.5))]
    for block in range(_COPIES):
        for side, shape in (("in", (hidden, neurons)), ("out", (neurons, hidden))):
            weight = rng.standard_normal(shape, dtype=np.float32) * np.float32(shape[0] ** -0.5)
            initializers.append(numpy_helper.from_array(weight, f"{side}_weight{block}"))
            initializers.append(
                numpy_helper.from_array(np.zeros(shape[1], np.float32), f"{side}_bias{block}")
            )
        nodes += _block(name, block)
        name = f"Y{block}"
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, "tokens", hidden]) for n in ("X", name))
    graph = helper.make_graph(nodes, "blocks", [x], [y], initializers)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def _scalar(value: float, name: str) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype=np.float32), name)


def _block(x: str, block: int) -> list[onnx.NodeProto]:
    """GELU spelled as PyTorch's exporter spells it, so that ONNX Runtime fuses it."""
    steps = [
        ("MatMul", [x, "in_weight"], "a"),
        ("Add", ["a", "in_bias"], "b"),
        ("Div", ["b", "sqrt2"], "c"),
        ("Erf", ["c"], "d"),
        ("Add", ["d", "one"], "e"),
        ("Mul", ["b", "e"], "f"),
        ("Mul", ["f", "half"], "g"),
        ("MatMul", ["g", "out_weight"], "h"),
        ("Add", ["h", "out_bias"], "Y"),
    ]
    shared = {x, "sqrt2", "one", "half"}
    return [
        helper.make_node(kind, [n if n in shared else f"{n}{block}" for n in inputs], [f"{output}{block}"])
        for kind, inputs, output in steps
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
