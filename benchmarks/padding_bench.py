"""Padding removal against its alternatives, on a real distribution of lengths.

Sides: every given file on batches in their original order, padded to the longest of each batch; and the same
on batches of sorted lengths ("bucketed"), the usual way to waste less. Interleaved, one pass over all batches
per sample, so that each sample holds the whole distribution.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.benchmarks.timing import compare, measure_interleaved, percentiles
from platon_compress.errors import InputError
from platon_compress.export.session import open_session

__all__ = ["benchmark_padding", "padded_batches"]


def padded_batches(
    lengths: Sequence[int], batch_size: int, *, bucketed: bool = False, vocabulary: int = 60
) -> list[dict[str, np.ndarray]]:
    """`input_ids`, `attention_mask` and `token_type_ids` int64 [batch, longest] of random tokens.

    lengths: valid tokens of each example, in the order in which they arrive.
    """
    if batch_size < 1 or not lengths or min(lengths) < 1:
        raise InputError(
            f"padding needs lengths >= 1 and a batch size >= 1, got {len(lengths)} lengths and batch size "
            f"{batch_size}; take the lengths of tokenised examples"
        )
    ordered = np.sort(np.asarray(lengths)) if bucketed else np.asarray(lengths)
    generator = np.random.default_rng(0)
    batches = []
    for part in np.split(ordered, range(batch_size, len(ordered), batch_size)):
        mask = (np.arange(part.max()) < part[:, None]).astype(np.int64)
        ids = generator.integers(5, vocabulary, mask.shape) * mask
        batches.append({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(mask)})
    return batches


def benchmark_padding(
    files: Mapping[str, str | Path],
    lengths: Sequence[int],
    *,
    batch_size: int = 8,
    threads: int | None = None,
    runs: int = 20,
    warmup: int = 2,
    pause_seconds: float = 0.03,
) -> dict[str, Any]:
    """Time every file, padded and bucketed. Ratios compare with the first file, padded.

    files: name -> ONNX file (dense, compressed, compressed without padding, ...).
    Returns {"batch_size", "valid_share", "samples": side -> seconds per pass, "percentiles", "ratios"}.
    """
    orders = {
        order: padded_batches(lengths, batch_size, bucketed=order == "bucketed")
        for order in ("padded", "bucketed")
    }
    sides = {
        f"{name}, {order}": _pass_over(path, batches, threads)
        for name, path in files.items()
        for order, batches in orders.items()
    }
    samples = measure_interleaved(sides, runs=runs, warmup=warmup, pause_seconds=pause_seconds)
    baseline, *others = sides
    masks = [batch["attention_mask"] for batch in orders["padded"]]
    return {
        "batch_size": batch_size,
        "valid_share": sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks),
        "samples": {name: list(times) for name, times in samples.items()},
        "percentiles": {name: percentiles(times) for name, times in samples.items()},
        "ratios": [compare(samples, baseline=baseline, candidate=name).to_dict() for name in others],
    }


def _pass_over(
    path: str | Path, batches: Sequence[Mapping[str, np.ndarray]], threads: int | None
) -> Callable[[], object]:
    """A call that runs every batch once."""
    session = open_session(path, threads=threads, stop_spinning=True)
    names = [value.name for value in session.get_inputs()]
    feeds = [{name: batch[name] for name in names} for batch in batches]
    return lambda: [session.run(None, feed) for feed in feeds]
