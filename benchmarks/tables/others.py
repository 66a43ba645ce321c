"""What the README says of results that are no latency tables: memory, padding removal, the kernels alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from platon_compress.measure.timing import PairedRatio
from platon_compress.report.tables import format_ratio

__all__ = ["PADDING_HEAD", "PADDING_NOTE", "padding_rows", "result_sentences"]

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


def padding_rows(results: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """A row per padding result, in PADDING_HEAD's columns."""
    rows = []
    for entry in results.values():
        if entry["kind"] != _PADDING:
            continue
        over = {r["candidate"]: r for r in entry["ratios"] if r["baseline"] == "dense, padded"}
        threads = _count(entry["environment"]["threads"], "thread")
        label = f"{entry['title']}, {entry['data']}, batch {entry['batch_size']}, {threads}"
        valid = f"{entry['valid_share']['padded']:.0%} ({entry['valid_share']['bucketed']:.0%} bucketed)"
        rows.append((label, f"{entry['sparsity']:.0%}", valid, *(_ratio(over[side]) for side in _SIDES)))
    return rows


def result_sentences(results: Mapping[str, Mapping[str, Any]], folder: str) -> Iterator[str]:
    """One sentence per memory result, and per kernel result on single weights; `folder` is where the README links to."""
    for name, entry in results.items():
        if entry["kind"] == _MEMORY:
            yield _memory_sentence(name, entry, folder)
        elif entry["kind"] == "kernels" and all(row.get("block_rows", 1) == 1 for row in entry["rows"]):
            yield _kernel_sentence(name, entry, folder)


def _memory_sentence(name: str, entry: Mapping[str, Any], folder: str) -> str:
    dense, compressed = (file["medians"] for file in entry["files"][:2])
    load = entry["load_ratios"][0]
    workers, threads = entry["config"]["workers"], _count(entry["config"]["threads"], "thread")
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
        f"The kernels alone, layers of {models}, {count} rows, {_count(threads, 'thread')}, useful GFLOP/s by zeros: "
        f"{', '.join(parts)}; the processor's arithmetic ceiling is {ceiling:.0f} "
        f"([roofline]({folder}/roofline.png), [samples]({folder}/{name}.json))."
    )


def _range(values: Sequence[float]) -> str:
    return f"{min(values):.0f} to {max(values):.0f}"


def _ratio(ratio: Mapping[str, Any]) -> str:
    return format_ratio(PairedRatio.from_dict(ratio))


def _megabytes(value: float) -> str:
    return f"{value / 1e6:.0f} MB"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
