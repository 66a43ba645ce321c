"""One transformer block as the library cuts it for a number of cores, and what its work items take on this machine."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse
from splitting.schedule import Loop

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativeLinear, NativePool, attend

__all__ = ["SHAPES", "Block", "BlockShape", "random_weights", "trained_weights"]

_TILE = 64  # columns that one thread packs at a time, as in core/panels.h
_PACKED_ALONE = 32768  # values that the caller packs alone, as in core/linear.cpp
_EPSILON = 1e-12

Weights = dict[str, "sparse.csr_matrix"]


@dataclass(frozen=True)
class BlockShape:
    """Of an encoder's blocks; what they are called in its checkpoints."""

    title: str
    hidden: int
    inner: int
    heads: int
    blocks: int

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Layer to [out_features, in_features], in the order in which a block runs them."""
        return {
            "queries, keys, values": (3 * self.hidden, self.hidden),
            "attention output": (self.hidden, self.hidden),
            "feed-forward, first": (self.inner, self.hidden),
            "feed-forward, second": (self.hidden, self.inner),
        }


SHAPES = {
    "bert-base": BlockShape("BERT-base", 768, 3072, 12, 12),
    "minilm-l6": BlockShape("MiniLM-L6", 384, 1536, 12, 6),
}
_NAMES = {
    "queries, keys, values": tuple(f"attention.self.{part}" for part in ("query", "key", "value")),
    "attention output": ("attention.output.dense",),
    "feed-forward, first": ("intermediate.dense",),
    "feed-forward, second": ("output.dense",),
}


def random_weights(shape: BlockShape, sparsity: float, seed: int = 1) -> Weights:
    """Every weight is zero with the same chance."""
    rng = np.random.default_rng(seed)
    return {
        name: sparse.random(*size, density=1 - sparsity, format="csr", dtype=np.float32, random_state=rng)
        for name, size in shape.layers.items()
    }


def trained_weights(folder: Path, shape: BlockShape) -> list[Weights]:
    """Of every block of a BERT in a folder in Hugging Face layout. InputError for another model."""
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / "model.safetensors")
    except OSError as error:
        raise InputError(f"{folder} holds no model.safetensors; name the folder model of a run") from error
    return [_block(tensors, f".layer.{number}.", shape, folder) for number in range(shape.blocks)]


def _block(tensors: dict[str, Any], place: str, shape: BlockShape, folder: Path) -> Weights:
    found = {}
    for name, size in shape.layers.items():
        parts = [key for part in _NAMES[name] for key in tensors if key.endswith(f"{place}{part}.weight")]
        dense = np.concatenate([tensors[key] for key in parts]) if parts else np.zeros((0, 0))
        if dense.shape != size:
            raise InputError(f"{folder} holds no {shape.title}: {name} is {dense.shape}, not {size}")
        found[name] = sparse.csr_matrix(dense.astype(np.float32))
    return found


class Block:
    """The packed layers of a block and its attention, cut as NativeLinear takes it, for `batch` texts of `tokens`.

    Input of the first layer of attention and of feed-forward in rows, between them in panels, as in exported models.
    """

    def __init__(
        self, shape: BlockShape, weights: Weights, kernel: str, cut: tuple[int, int], batch: int, tokens: int
    ) -> None:
        self.shape, self.kernel, self.lengths = shape, kernel, [tokens] * batch
        self.layers = {name: _layer(name, matrix, cut) for name, matrix in weights.items()}
        rng, rows = np.random.default_rng(2), batch * tokens
        self.x = {
            size: rng.standard_normal((rows, size)).astype(np.float32) for size in (shape.hidden, shape.inner)
        }
        self.q, self.k, self.v = (self.x[shape.hidden].copy() for _ in range(3))
        self.out = {name: np.empty((rows, size[0]), np.float32) for name, size in shape.layers.items()}

    def steps(self, pool: NativePool) -> dict[str, Callable[[], object]]:
        """The five loops of the block, by name, in their order."""
        steps: dict[str, Callable[[], object]] = {
            name: lambda name=name: self._run(name, pool)  # type: ignore[misc]
            for name in self.layers
        }
        first = next(iter(steps))
        scale = (self.shape.hidden / self.shape.heads) ** -0.5
        panels = ("input", "output")
        attention: Callable[[], object] = lambda: attend(  # noqa: E731
            self.q, self.k, self.v, pool, kernel=self.kernel, heads=self.shape.heads, scale=scale, lengths=self.lengths,
            panels=panels, out=self.out["attention output"],
        )  # fmt: skip
        return {
            first: steps.pop(first),
            "attention": attention,
            **steps,
        }

    def loops(self, pool: NativePool, rounds: int) -> list[Loop]:
        """The loops with the median time of each of their items over `rounds` rounds through the block."""
        times: dict[str, list[list[float]]] = {}
        for _ in range(rounds):
            for name, step in self.steps(pool).items():
                times.setdefault(name, []).append(pool.item_seconds(step))
        return [
            self._loop(name, [median(item) for item in zip(*taken, strict=True)])
            for name, taken in times.items()
        ]

    def close(self) -> None:
        """Frees the packed weights."""
        for layer in self.layers.values():
            layer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, name: str, pool: NativePool) -> None:
        layer = self.layers[name]
        adds = name in _CLOSED
        self.layers[name].run(
            self.x[layer.in_features], pool, kernel=self.kernel, out=self.out[name],
            residual=self.x[layer.out_features] if adds else None,
        )  # fmt: skip

    def _loop(self, name: str, times: Sequence[float]) -> Loop:
        before, items = times[0], list(times[1:])
        if name == "attention":
            return Loop(name=name, before=before, items=tuple(items), per_panel=1)
        layer = self.layers[name]
        chunks = layer.chunks
        packed = len(self.x[self.shape.hidden]) * layer.in_features
        together = name not in _CLOSED and packed > _PACKED_ALONE
        packing = _beside(items, chunks, 0) if together else 0.0
        closing = _beside(items, chunks, chunks - 1) if name in _CLOSED else 0.0
        for first in range(0, len(items), chunks):
            items[first] -= packing
            items[first + chunks - 1] -= closing
        return Loop(
            name=name, before=before, items=tuple(items), per_panel=chunks, packing=packing,
            tiles=-(-layer.in_features // _TILE), closing=closing,
        )  # fmt: skip


_CLOSED = ("attention output", "feed-forward, second")
"""A residual and a norm follow; their input lies in panels."""


def _beside(items: Sequence[float], chunks: int, place: int) -> float:
    """What the item at `place` of a panel does beside its product: its time above the median of the panel's others."""
    panels = [list(items[first : first + chunks]) for first in range(0, len(items), chunks)]
    if chunks == 1:
        return 0.0
    more = [panel[place] - median(panel[:place] + panel[place + 1 :]) for panel in panels]
    return max(0.0, min([median(more), *(panel[place] for panel in panels)]))


def _layer(name: str, matrix: "sparse.csr_matrix", cut: tuple[int, int]) -> NativeLinear:
    out, columns = matrix.shape
    matrix.sort_indices()
    ones: npt.NDArray[np.float32] = np.ones(out, np.float32)
    closed = name in _CLOSED
    return NativeLinear(
        matrix.data.astype(np.float32), matrix.indices.astype(np.uint16), matrix.indptr.astype(np.int32),
        in_features=columns, out_features=out, bias=ones, cut=cut,
        activation="gelu" if name == "feed-forward, first" else "",
        scale=ones if closed else None, shift=ones if closed else None, epsilon=_EPSILON if closed else 0.0,
        panels=("input",) if closed else ("output",),
    )  # fmt: skip
