"""Results that are no latency tables: memory, padding removal, the kernels alone, and what pruning itself costs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tables.markdown import Table, counted

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_ratio

__all__ = [
    "PADDING_HEAD",
    "PADDING_NOTE",
    "block_sentence",
    "padding_rows",
    "padding_table",
    "pruning_sentences",
    "result_sentences",
]

_MEMORY, _PADDING = "memory", "padding"

PADDING_HEAD = (
    "texts as they come, random masks",
    "sparsity",
    "tokens that are no padding",
    "dense, bucketed",
    "compressed",
    "compressed, bucketed",
    "without padding",
    "without padding, bucketed",
)
PADDING_NOTE = (
    "Speed over dense on batches in the order of arrival, each padded to its longest text; bucketed: sorted by length "
    "first."
)
_SIDES = (
    "dense, bucketed",
    "compressed, padded",
    "compressed, bucketed",
    "unpadded, padded",
    "unpadded, bucketed",
)


def padding_table(results: Mapping[str, Mapping[str, Any]]) -> Table:
    """The rows below their head."""
    return Table(PADDING_HEAD, 3, padding_rows(results))


def padding_rows(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row per padding result, in PADDING_HEAD's columns."""
    rows = []
    for entry in results.values():
        if entry["kind"] != _PADDING:
            continue
        over = {r["candidate"]: r for r in entry["ratios"] if r["baseline"] == "dense, padded"}
        threads = counted(entry["environment"]["threads"], "thread")
        label = f"{entry['title']}, {entry['data']}, batch {entry['batch_size']}, {threads}"
        valid = f"{entry['valid_share']['padded']:.0%} ({entry['valid_share']['bucketed']:.0%} bucketed)"
        rows.append((label, f"{entry['sparsity']:.0%}", valid, *(_ratio(over[side]) for side in _SIDES)))
    return rows


def result_sentences(results: Mapping[str, Mapping[str, Any]], folder: str) -> Iterator[str]:
    """A sentence per memory, checkpoint, and single-weight kernel result; `folder` is what the page links to."""
    for name, entry in results.items():
        if entry["kind"] == _MEMORY:
            yield _memory_sentence(name, entry, folder)
        elif entry["kind"] == "checkpoint":
            yield _checkpoint_sentence(name, entry, folder)
        elif entry["kind"] == "kernels" and all(row.get("block_rows", 1) == 1 for row in entry["rows"]):
            yield _kernel_sentence(name, entry, folder)


def block_sentence(results: Mapping[str, Mapping[str, Any]], folder: str) -> Iterator[str]:
    """What 4x1 blocks gain over single weights of the same number, per kernel result that measured both."""
    for name, entry in results.items():
        if entry["kind"] != "kernels" or {row.get("block_rows", 1) for row in entry["rows"]} != {1, 4}:
            continue
        gains = [f"{_range_of(values, 'x')} with {rows} rows" for rows, values in _gains(entry).items()]
        models = ", ".join(sorted({row["model"] for row in entry["rows"]}))
        zeros = [1 - density for density in entry["config"]["densities"]]
        threads = counted(max(row["threads"] for row in entry["rows"]), "thread")
        yield (
            f"Masks of 4x1 blocks run the layers of {models} {' and '.join(gains)} as fast as masks of single "
            f"weights with the same number of zeros, between {min(zeros):.0%} and {max(zeros):.0%} zeros ({threads}, "
            f"[samples]({folder}/{name}.json))."
        )


def pruning_sentences(results: Mapping[str, Mapping[str, Any]], folder: str) -> Iterator[str]:
    """What a pruning step costs in time and memory."""
    for name, entry in results.items():
        if entry["kind"] == "training":
            yield _step_sentence(name, entry, folder)
        elif entry["kind"] == "faster-steps":
            yield _faster_steps_sentence(name, entry, folder)
        elif entry["kind"] == "pruner-memory":
            used = [row["bytes_per_weight"] for row in entry["rows"]]
            yield (
                f"The pruner takes {min(used):.1f} to {max(used):.1f} bytes per prunable weight at its peak, measured "
                f"from outside on a BERT-base, over all granularities ([samples]({folder}/{name}.json))."
            )


def _faster_steps_sentence(name: str, entry: Mapping[str, Any], folder: str) -> str:
    parts = (
        f"{' and '.join(format_ratio(PairedRatio.from_dict(ratio)) for ratio in row['ratios'].values())} for "
        f"{row['model']} with {row['batch']} x {row['tokens']} tokens"
        for row in entry["rows"]
    )
    return (
        "Training steps in bfloat16 (`train.bf16`) on a processor that multiplies it, and those without dropout as well "
        f"(`train.dropout: 0`), over those in float32: {', '.join(parts)} ({counted(entry['threads'], 'thread')}, "
        f"[samples]({folder}/{name}.json))."
    )


def _step_sentence(name: str, entry: Mapping[str, Any], folder: str) -> str:
    config, linear = entry["config"], entry["linear"]
    size = f"batch {config['batch']} x {config['tokens']} tokens, {counted(config['threads'], 'thread')}"
    per_weight = [1e9 * row["step_seconds"] / row["weights"] for row in linear]
    millions = [row["weights"] / 1e6 for row in linear]
    return (
        f"`pruner.step()` takes {entry['ours_share']:.1%} of a BERT-base training step on the CPU ({size}), "
        f"{entry['naive_ratio']:.1f}x less than the authors' way in the same run, and {min(per_weight):.1f} to "
        f"{max(per_weight):.1f} ns per weight from {millions[0]:.0f} to {millions[-1]:.0f} million weights "
        f"([plot]({folder}/{name}.png), [samples]({folder}/{name}.json))."
    )


def _gains(entry: Mapping[str, Any]) -> dict[int, list[float]]:
    """Tokens to single weights' time over blocks' time, all layers of a model added; a value per density."""
    totals: dict[tuple[Any, ...], dict[int, float]] = {}
    for row in entry["rows"]:
        cell = (row["rows"], round(row["density"], 2), row["threads"], row["model"], row["kernel"])
        sums = totals.setdefault(cell, {1: 0.0, 4: 0.0})
        sums[row["block_rows"]] += row["count"] * row["median_seconds"]
    gains: dict[int, list[float]] = {}
    for (count, *_), sums in totals.items():
        gains.setdefault(count, []).append(sums[1] / sums[4])
    return gains


def _range_of(values: Sequence[float], unit: str) -> str:
    return f"{min(values):.2f}{unit} to {max(values):.2f}{unit}"


def _checkpoint_sentence(name: str, entry: Mapping[str, Any], folder: str) -> str:
    dense, compressed = (_megabytes(entry["bytes"][side]) for side in ("dense", "compressed"))
    load, answer = (_ratio(entry["ratios"][measure]) for measure in ("load_seconds", "answer_seconds"))
    return (
        f"A compressed checkpoint of {entry['title']} with {entry['sparsity']:.0%} zeros takes {compressed} against "
        f"{dense}; the loading call is {load} as fast as dense, loading and a first answer {answer} "
        f"([samples]({folder}/{name}.json))."
    )


def _memory_sentence(name: str, entry: Mapping[str, Any], folder: str) -> str:
    dense, compressed = (file["medians"] for file in entry["files"][:2])
    load = entry["load_ratios"][0]
    workers, threads = entry["config"]["workers"], counted(entry["config"]["threads"], "thread")
    return (
        f"Memory of {entry['title']} with {entry['sparsity']:.0%} zeros, whole processes of {threads}, Python included: "
        f"one peaks at {_megabytes(compressed['peak_bytes'])} against {_megabytes(dense['peak_bytes'])} dense "
        f"({compressed['peak_bytes'] / dense['peak_bytes']:.2f}x); {workers} side by side hold "
        f"{_megabytes(compressed['workers_bytes'])} against {_megabytes(dense['workers_bytes'])} "
        f"({compressed['workers_bytes'] / dense['workers_bytes']:.2f}x); loading is {_ratio(load)} as fast "
        f"([samples]({folder}/{name}.json))."
    )


def _kernel_sentence(name: str, entry: Mapping[str, Any], folder: str) -> str:
    threads = max(row["threads"] for row in entry["rows"])
    count = max(row["rows"] for row in entry["rows"])
    ceiling = max(c["fma_gflops"] for c in entry["ceilings"] if c["threads"] == threads)
    chosen = [row for row in entry["rows"] if (row["threads"], row["rows"]) == (threads, count)]
    parts = [
        f"{_range([row['useful_gflops'] for row in chosen if round(row['density'], 3) == density])} at {1 - density:.0%}"
        for density in sorted({round(row["density"], 3) for row in chosen}, reverse=True)
    ]
    models = ", ".join(sorted({row["model"] for row in chosen}))
    return (
        f"The kernels alone, layers of {models}, {count} rows, {counted(threads, 'thread')}, useful GFLOP/s by zeros: "
        f"{', '.join(parts)}; the processor's arithmetic ceiling is {ceiling:.0f} "
        f"([roofline]({folder}/roofline.png), [samples]({folder}/{name}.json))."
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.0f} to {max(values):.0f}"


def _ratio(ratio: Mapping[str, Any]) -> str:
    return format_ratio(PairedRatio.from_dict(ratio))


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"
