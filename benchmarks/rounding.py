"""Which neuron counts dense ONNX Runtime likes: the multiple that structured pruning rounds to.

A feed-forward half block (`platon_compress.measure.half_blocks`: linear, GELU, linear, residual sum, norm) is timed
with neuron counts that are odd multiples of 1, 2, 4, ... near one size, all in turn. The figure is seconds per neuron
against the reference count, both at their fastest (other load on the machine only ever adds time): 1.05 means that a
neuron of this count costs 5 % more.

    python benchmarks/rounding.py
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from study import add_output, keep, run_study, study_parser, watched

from platon_compress.measure.environment import describe_environment
from platon_compress.measure.half_blocks import COPIES, HalfBlock, half_block_call, write_half_block
from platon_compress.measure.timing import measure_interleaved
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

__all__ = ["counts_near", "main", "measure_rounding"]

MULTIPLES = (1, 2, 4, 8, 16, 32, 64)
_CASES = ((384, 128), (384, 512), (768, 1536))
"""(hidden size, neurons of the reference): MiniLM with a twelfth and a third of its neurons left, BERT-base with half."""

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
            for count in tokens:
                for used in threads:
                    progress(len(rows) // len(MULTIPLES), cells, f"{reference} neurons, {count} tokens")
                    rows += _measure(Path(folder), hidden, counts, count, used, runs)
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
    folder: Path, hidden: int, counts: dict[int, int], tokens: int, threads: int, runs: int
) -> list[dict[str, Any]]:
    half = HalfBlock(kind="neurons", width=hidden, unit_size=1, gates=1, batch=1, tokens=tokens)
    sides = {
        str(multiple): half_block_call(write_half_block(folder, half, neurons), half, threads)
        for multiple, neurons in counts.items()
    }
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
                "seconds": min(seconds) / COPIES,
                "cost_per_neuron": round(min(seconds) / reference * counts[max(MULTIPLES)] / neurons, 4),
                "samples_seconds": [round(value, 7) for value in seconds],
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
