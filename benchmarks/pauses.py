"""What a pause before a run costs, with threads that may be woken on any core and with pinned ones.

    python benchmarks/pauses.py

A service waits between its texts. A thread that wakes up on the core of the one that waits for it gets a core of its own
only at the scheduler's next tick; `pin_threads` keeps it on its own. All sessions are open at a time and run in turn.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from study import MODELS, add_output, counts, keep, run_study, share, study_parser, watched
from targets import INT8, TARGETS, export_int8, export_random, random_stem, target_named

from platon_compress.measure.environment import describe_environment, usable_cores
from platon_compress.measure.sessions import describe_inputs, make_inputs, open_on
from platon_compress.measure.timing import measure_interleaved, percentiles
from platon_compress.schemas import stamped

__all__ = ["main"]

_FILES = {"dense": "dense.onnx", "dense int8": "dense-int8.onnx", "float32": "compressed.onnx", "int8": INT8}


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
    sides: dict[str, Callable[[], object]] = {}
    for name, file in _FILES.items():
        for pin in (False, True):
            session = open_on(folder / file, threads=threads, pin_threads=pin)
            feed = make_inputs(describe_inputs(session), batch=batch, tokens=tokens)
            sides[f"{name}, {'pinned' if pin else 'free'}"] = partial(session.run, None, feed)
    rows = []
    with watched("pauses") as progress:
        for pause in options.pauses:
            samples = measure_interleaved(
                sides, runs=options.runs, warmup=3, pause_seconds=pause / 1000, on_round=progress
            )
            rows.append(
                {"pause_ms": pause, "seconds": {side: list(taken) for side, taken in samples.items()}}
            )
            medians = (
                f"{side} {percentiles(taken)['p50_seconds'] * 1e3:.1f} ms" for side, taken in samples.items()
            )
            yield f"after {pause} ms: {'; '.join(medians)}"
    content = {
        "environment": describe_environment(threads=threads),
        "model": options.model, "batch": batch, "tokens": tokens, "threads": threads, "pauses": rows,
    }  # fmt: skip
    yield keep(options, stamped("pauses", content), title="Pauses", sparsity=options.sparsity)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
