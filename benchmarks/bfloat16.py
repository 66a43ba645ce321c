"""What a training step gains from bfloat16 on this processor, against float32, in turn.

    python benchmarks/bfloat16.py

Forward, backward, clip and write of encoders with random weights, as `benchmarks/training.py` times them; bfloat16 is
PyTorch's autocast, as `train.bf16` has it: weights and their updates stay in float32.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from study import add_output, keep, run_study, study_parser, watched
from training import TrainingBenchConfig, train_step, training_model

from platon_compress.measure.environment import describe_environment, usable_cores
from platon_compress.measure.timing import PairedRatio, compare, measure_interleaved
from platon_compress.report.tables import format_ratio
from platon_compress.schemas import stamped

__all__ = ["main"]

_SIZES = {
    "MiniLM-L6": TrainingBenchConfig(hidden=384, layers=6, heads=12, inner=1536),
    "BERT-base": TrainingBenchConfig(hidden=768, layers=12, heads=12, inner=3072),
}
_ROWS = ((32, 32), (16, 128))
"""(batch, tokens)"""


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "bfloat16")
    parser.add_argument("--runs", type=int, default=8, help="rounds of each cell, default 8")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    import torch

    threads = options.threads or usable_cores()
    torch.set_num_threads(threads)
    cells = [(name, batch, tokens) for name in _SIZES for batch, tokens in _ROWS]
    rows = []
    with watched("training steps") as progress:
        for place, (name, batch, tokens) in enumerate(cells):
            progress(place, len(cells), f"{name}, {batch} x {tokens}")
            config = replace(_SIZES[name], batch=batch, tokens=tokens, threads=threads)
            rows.append({"model": name, "batch": batch, "tokens": tokens, **_measured(config, options.runs)})
    for row in rows:
        ratio = format_ratio(PairedRatio.from_dict(row["ratio"]))
        yield f"{row['model']}, {row['batch']} x {row['tokens']} tokens: {ratio} the speed of float32"
    content = {"environment": describe_environment(threads=threads), "threads": threads, "rows": rows}
    yield keep(options, stamped("bfloat16", content), title="Training in bfloat16")


def _measured(config: TrainingBenchConfig, runs: int) -> dict[str, Any]:
    model, batch = training_model(config)
    sides = {
        name: partial(train_step, model, batch, bf16=name == "bfloat16") for name in ("float32", "bfloat16")
    }
    samples = measure_interleaved(sides, runs=runs, warmup=1)
    ratio = compare(samples, baseline="float32", candidate="bfloat16")
    return {
        "ratio": ratio.to_dict(),
        "samples_seconds": {name: list(values) for name, values in samples.items()},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
