"""Markdown tables, and what the cells of several tables have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platon_compress.report.writing import escape_markdown

__all__ = ["KERNELS", "Table", "counted", "kernels", "machine", "percent", "setting_label"]

KERNELS = {"avx512vnni": "AVX-512 with VNNI", "avx2": "AVX2"}
"""The kernel sets that results were measured with, in words."""


@dataclass(frozen=True)
class Table:
    """Columns and rows of text; the first `text_columns` are aligned left, figures right."""

    head: tuple[str, ...]
    text_columns: int
    rows: Sequence[Sequence[str]]

    def __str__(self) -> str:
        rule = [":---" if index < self.text_columns else "---:" for index in range(len(self.head))]
        lines = [self.head, rule, *([str(escape_markdown(cell)) for cell in row] for row in self.rows)]
        return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def counted(number: int, noun: str) -> str:
    """`1 thread`, `2 threads`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def percent(entry: Mapping[str, Any]) -> str:
    """The sparsity of a result."""
    sparsity = entry.get("sparsity")
    return "" if sparsity is None else f"{sparsity:.0%}"


def setting_label(batch: int, tokens: int | None) -> str:
    """`batch 1, 128 tokens`; pictures have no tokens."""
    return f"batch {batch}" + (f", {tokens} tokens" if tokens else "")


def machine(entry: Mapping[str, Any]) -> str:
    """Where a result was measured, in a few words."""
    env = entry["environment"]
    packages = env.get("packages", {})
    runtime = packages.get("onnxruntime") or packages.get("onnxruntime-gpu")
    return f"{env['cpu_model']}, {counted(env['threads'], 'thread')}, {env['isa']}, ONNX Runtime {runtime}"


def kernels(entry: Mapping[str, Any]) -> str:
    """The kernel set that a result was measured with, in words."""
    isa = entry["environment"]["isa"]
    return KERNELS.get(isa, isa)
