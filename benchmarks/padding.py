"""Padding removal against its alternatives, on a real distribution of lengths.

    python benchmarks/padding.py
    python benchmarks/padding.py --name padding-sst2 --texts dev.tsv --column sentence --tokenizer FOLDER

Without texts: the token counts that a committed result holds (128 texts of SST-2's dev set).

Sides: every given file on batches in their original order, padded to the longest of each batch; and the same
on batches of sorted lengths ("bucketed"), the usual way to waste less. Interleaved, one pass over all batches
per sample, so that each sample holds the whole distribution.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from study import MODELS, RESULTS, add_output, keep, run_study, share, study_parser, watched
from targets import TARGETS, UNPADDED, export_random, random_stem, target_named
from text_lengths import read_texts, token_lengths

from platon_compress.errors import InputError, MissingExtraError
from platon_compress.export.session import open_session
from platon_compress.files import read_json
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare, measure_interleaved, percentiles
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

__all__ = ["KIND", "benchmark_padding", "committed_lengths", "main", "padded_batches"]

KIND = "padding"
_ORDERS = ("padded", "bucketed")
_COMMITTED = RESULTS / "padding-minilm-l6-sst2.json"


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
    pause_seconds: float = 0.005,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Time every file, padded and bucketed. Ratios compare every side with the first file's two.

    files: name -> ONNX file (dense, compressed, compressed without padding, ...).
    Returns JSON: {"batch_size", "lengths", "valid_share": order -> share of tokens that are no padding,
    "samples": side -> seconds per pass, "percentiles", "ratios", "environment", ...}.
    """
    orders = {order: padded_batches(lengths, batch_size, bucketed=order == "bucketed") for order in _ORDERS}
    sides = {
        f"{name}, {order}": _pass_over(path, batches, threads)
        for name, path in files.items()
        for order, batches in orders.items()
    }
    samples = measure_interleaved(
        sides, runs=runs, warmup=warmup, pause_seconds=pause_seconds, on_round=progress
    )
    baselines = list(sides)[: len(_ORDERS)]
    content = {
        "environment": describe_environment(threads=threads),
        "batch_size": batch_size,
        "lengths": list(lengths),
        "valid_share": {order: _valid_share(batches) for order, batches in orders.items()},
        "samples": {name: list(times) for name, times in samples.items()},
        "percentiles": {name: percentiles(times) for name, times in samples.items()},
        "ratios": [
            compare(samples, baseline=baseline, candidate=name).to_dict()
            for baseline in baselines
            for name in sides
            if name != baseline
        ],
    }
    return stamped(KIND, content)


def _valid_share(batches: Sequence[Mapping[str, np.ndarray]]) -> float:
    masks = [batch["attention_mask"] for batch in batches]
    return sum(int(mask.sum()) for mask in masks) / sum(mask.size for mask in masks)


def _pass_over(
    path: str | Path, batches: Sequence[Mapping[str, np.ndarray]], threads: int | None
) -> Callable[[], object]:
    """A call that runs every batch once."""
    session = open_session(path, threads=threads, stop_spinning=True)
    names = [value.name for value in session.get_inputs()]
    feeds = [{name: batch[name] for name in names} for batch in batches]
    return lambda: [session.run(None, feed) for feed in feeds]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, KIND)
    parser.add_argument("--data-title", default="", help="what the texts are called in the table")
    parser.add_argument("--texts", type=Path, default=None, help=".tsv or SQuAD v1.1 .json")
    parser.add_argument("--column", help="the texts' column in a .tsv file")
    parser.add_argument("--tokenizer", default=None, help="folder or hub id; needed with --texts")
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--examples", type=int, default=128)
    parser.add_argument(
        "--onnx", type=Path, default=MODELS, help=f"keeps the exported models, default {MODELS}"
    )
    parser.add_argument("--model", default="minilm-l6", help=", ".join(TARGETS))
    parser.add_argument("--sparsity", type=share, default=0.9)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--runs", type=int, default=12)
    return run_study(_measure, parser, arguments)


def _measure(options: argparse.Namespace) -> Iterator[str]:
    """Export what is missing, measure, save; a line per side."""
    target = target_named(options.model)
    lengths, data = _lengths(options)
    folder = options.onnx / random_stem(options.model, options.sparsity)
    export_random(target, options.sparsity, folder, threads=options.threads, unpadded=True)
    files = {
        "dense": folder / "dense.onnx",
        "compressed": folder / "compressed.onnx",
        "unpadded": folder / UNPADDED,
    }
    with watched("padding") as progress:
        result = benchmark_padding(
            files, lengths, batch_size=options.batch, threads=options.threads, runs=options.runs, warmup=1,
            progress=progress,
        )  # fmt: skip
    yield f"{len(lengths)} texts, tokens: {', '.join(f'{s:.0%} valid {o}' for o, s in result['valid_share'].items())}"
    for ratio in result["ratios"]:
        interval = "" if ratio["low"] is None else f" ({ratio['low']:.2f}-{ratio['high']:.2f})"
        yield f"{ratio['candidate']}: {ratio['median']:.2f}x{interval} the speed of {ratio['baseline']}"
    content = {**result, "data": data, "max_length": options.max_length}
    yield keep(options, content, title=target.title, sparsity=options.sparsity)


def committed_lengths() -> list[int]:
    """Tokens of 128 texts of SST-2's dev set, as a committed result holds them."""
    return list(_committed()["lengths"])


def _committed() -> Mapping[str, Any]:
    return read_json(_COMMITTED, "restore it, or give --texts and --tokenizer")


def _lengths(options: argparse.Namespace) -> tuple[list[int], str]:
    """Tokens of every text, and what the texts are called."""
    if options.texts is None:
        return committed_lengths(), options.data_title or _committed()["data"]
    if options.tokenizer is None:
        raise InputError("--texts needs --tokenizer; give the model's folder or hub id")
    texts = read_texts(options.texts, options.column)
    tokenizer = _tokenizer(options.tokenizer)
    lengths = token_lengths(texts, tokenizer, examples=options.examples, max_length=options.max_length)
    return lengths, options.data_title or options.texts.stem


def _tokenizer(name: str) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise MissingExtraError(
            "transformers is not installed; run `pip install 'platon-compress[train]'`"
        ) from error
    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise InputError(f"no tokenizer at {name!r}; give a model folder or hub id") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
