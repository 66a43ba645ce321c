"""What a pause before a run costs, with threads that may be woken on any core and with pinned ones.

    python benchmarks/pauses.py

A service waits between its texts. A thread that wakes up on the core of the one that waits for it gets a core of its own
only at the scheduler's next tick. Pinned: `pin_threads`, and the caller on the core that is left. Each side is
a process of its own, which does nothing but wait and run, all in turn.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from study import MODELS, add_output, counts, keep, run_study, share, study_parser, watched
from targets import INT8, TARGETS, export_int8, export_random, random_stem, target_named

from platon_compress.measure.environment import describe_environment, usable_cores
from platon_compress.measure.peers.process import Engine, EngineProcess
from platon_compress.measure.sessions import describe_inputs, make_inputs, open_on
from platon_compress.measure.timing import percentiles
from platon_compress.progress import Progress
from platon_compress.schemas import stamped

__all__ = ["main"]

_FILES = {"dense": "dense.onnx", "dense int8": "dense-int8.onnx", "float32": "compressed.onnx", "int8": INT8}
_WARMUP = 3


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "pauses")
    parser.add_argument("--model", choices=TARGETS, default="bert-base")
    parser.add_argument("--sparsity", type=share, default=0.8)
    parser.add_argument("--pauses", type=counts, default=(5, 30, 100), help="milliseconds, default 5,30,100")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--onnx", type=Path, default=MODELS, help=f"exported models, default {MODELS}")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    target, threads = target_named(options.model), options.threads or usable_cores()
    folder = export_random(
        target, options.sparsity, options.onnx / random_stem(options.model, options.sparsity)
    )
    export_int8(folder)
    batch, tokens = next(iter(target.cells))
    with ExitStack() as stack, watched("pauses") as progress:
        sides = _processes(folder, batch, tokens, threads, stack)
        rows = []
        for pause in options.pauses:
            rows.append({"pause_ms": pause, "seconds": _taken(sides, pause / 1000, options.runs, progress)})
            yield _line(rows[-1])
    content = {
        "environment": describe_environment(threads=threads),
        "model": options.model, "batch": batch, "tokens": tokens, "threads": threads, "pauses": rows,
    }  # fmt: skip
    yield keep(options, stamped("pauses", content), title="Pauses", sparsity=options.sparsity)


def _processes(
    folder: Path, batch: int, tokens: int | None, threads: int, stack: ExitStack
) -> dict[str, EngineProcess]:
    """A service of its own for each file, with free and with pinned threads."""
    feed = make_inputs(describe_inputs(open_on(folder / "dense.onnx", threads=1)), batch=batch, tokens=tokens)
    arrays = Path(stack.enter_context(TemporaryDirectory(prefix="platon-pauses-"))) / "feed.npz"
    np.savez(arrays, **feed)  # type: ignore[arg-type]
    engines = [
        Engine(name=f"{name}, {how}", kind="onnxruntime", model=folder / file, pin_threads=how == "pinned")
        for name, file in _FILES.items()
        for how in ("free", "pinned")
    ]
    return {e.name: stack.enter_context(EngineProcess(e, arrays, threads=threads)) for e in engines}


def _taken(
    sides: Mapping[str, EngineProcess], pause: float, runs: int, progress: Progress
) -> dict[str, list[float]]:
    """Seconds of each side's runs, one in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for done in range(_WARMUP + runs):
        for name, process in sides.items():
            seconds[name] += process.run(1, pause)
        progress(done + 1, _WARMUP + runs)
    return {name: taken[_WARMUP:] for name, taken in seconds.items()}


def _line(row: Mapping[str, Any]) -> str:
    medians = (
        f"{side} {1e3 * percentiles(taken)['p50_seconds']:.1f} ms" for side, taken in row["seconds"].items()
    )
    return f"after {row['pause_ms']} ms: {'; '.join(medians)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
