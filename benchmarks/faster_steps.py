"""What a training step gains from bfloat16 and from leaving nothing out at random on this processor, in turn.

    python benchmarks/faster_steps.py

Forward, backward, clip and write of encoders with random weights on padded texts, as `benchmarks/training.py` times them;
bfloat16 is PyTorch's autocast, as `train.bf16` has it: weights and their updates stay in float32. Without dropout
(`train.dropout: 0`) no random numbers are drawn, and attention runs fused.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
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
_SIDES = {"float32": (False, 0.1), "bfloat16": (True, 0.1), "bfloat16, no dropout": (True, 0.0)}
"""Name to (bf16, dropout); all are compared with the first."""


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "faster-steps")
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
        told = ", ".join(
            f"{name} {format_ratio(PairedRatio.from_dict(ratio))}" for name, ratio in row["ratios"].items()
        )
        yield f"{row['model']}, {row['batch']} x {row['tokens']} tokens, over float32: {told}"
    content = {"environment": describe_environment(threads=threads), "threads": threads, "rows": rows}
    yield keep(options, stamped("faster-steps", content), title="Training in bfloat16, and without dropout")


def _measured(config: TrainingBenchConfig, runs: int) -> dict[str, Any]:
    samples = measure_interleaved(_sides(config), runs=runs, warmup=1)
    first, *others = samples
    return {
        "ratios": {name: compare(samples, baseline=first, candidate=name).to_dict() for name in others},
        "samples_seconds": {name: list(values) for name, values in samples.items()},
    }


def _sides(config: TrainingBenchConfig) -> dict[str, Callable[[], None]]:
    """Name to one step; each has a model of its own, and all the same texts, every second one a quarter shorter."""
    import torch

    from platon_compress.tasks.dropout import set_dropout

    sides: dict[str, Callable[[], None]] = {}
    for name, (bf16, dropout) in _SIDES.items():
        model, batch = training_model(config)
        set_dropout(model, dropout)
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        batch["attention_mask"][::2, -(config.tokens // 4) :] = 0
        sides[name] = partial(train_step, model, batch, bf16=bf16)
    return sides


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
