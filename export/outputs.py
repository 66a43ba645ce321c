"""Running an ONNX file over batches, and comparing what two routes answer.

A batch maps input names to arrays [batch, ...]; outputs map output names to arrays, one mapping per batch. Positions
that `attention_mask` hides are not compared: nobody may read them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from platon_compress.errors import InputError
from platon_compress.export.session import open_session
from platon_compress.scoring import Batch, Outputs

__all__ = ["Distance", "all_finite", "argmax_agreement", "differences", "distance", "onnx_outputs"]


def onnx_outputs(path: str | Path, batches: Sequence[Batch], *, use_library: bool) -> list[Outputs]:
    """Outputs of an ONNX file, per batch. Inputs that the exported graph does not read are left out."""
    session = open_session(path, use_library=use_library)
    needed = [value.name for value in session.get_inputs()]
    names = [value.name for value in session.get_outputs()]
    missing = [name for name in needed if batches and name not in batches[0]]
    if missing:
        raise InputError(f"{Path(path).name} needs the inputs {missing}, got {sorted(batches[0])}; add them")
    return [
        dict(zip(names, session.run(None, {n: np.ascontiguousarray(b[n]) for n in needed}), strict=True))
        for b in batches
    ]


@dataclass
class Distance:
    """How far numbers are from those of a reference: sums in float64 over all arrays that were added.

    Where one is not finite, or not in the same place, all distances are infinite and the cosine is 0.
    count: how many numbers; differing: how many of them are not equal. max_abs, mean_abs: of the differences.
    relative_error: the length of the difference over that of the reference.
    """

    count: int = 0
    differing: int = 0
    max_abs: float = 0.0
    _sum: float = 0.0
    _squares: float = 0.0
    _own: float = 0.0
    _reference: float = 0.0
    _product: float = 0.0

    def add(self, array: np.ndarray, reference: np.ndarray) -> None:
        """Two arrays of one shape."""
        own, wanted = (numbers.astype(np.float64).ravel() for numbers in (array, reference))
        with np.errstate(invalid="ignore"):  # infinity less infinity
            apart = np.abs(own - wanted)
        self.count += apart.size
        self.differing += int(np.count_nonzero(apart))
        largest = float(apart.max(initial=0.0))
        self.max_abs = max(self.max_abs, largest) if math.isfinite(largest) else math.inf
        self._sum += float(apart.sum())
        self._squares += float(apart @ apart)
        self._own += float(own @ own)
        self._reference += float(wanted @ wanted)
        self._product += float(own @ wanted)

    @property
    def mean_abs(self) -> float:
        return self._sum / max(self.count, 1) if self._finite else math.inf

    @property
    def relative_error(self) -> float:
        return math.sqrt(self._squares / (self._reference or 1.0)) if self._finite else math.inf

    @property
    def cosine(self) -> float:
        if not self._finite:
            return 0.0
        lengths = math.sqrt(self._own) * math.sqrt(self._reference)
        return self._product / lengths if lengths else float(self._own == self._reference)

    @property
    def _finite(self) -> bool:
        return math.isfinite(self.max_abs)


def distance(reference: Sequence[Outputs], outputs: Sequence[Outputs], batches: Sequence[Batch]) -> Distance:
    """Of all numbers that may be read."""
    found = Distance()
    for _, (wanted, got) in _compared_pairs(reference, outputs, batches):
        found.add(got, wanted)
    return found


def argmax_agreement(
    reference: Sequence[Outputs], outputs: Sequence[Outputs], batches: Sequence[Batch]
) -> float:
    """The share of the first output's rows whose largest number is at the same place."""
    agree, rows = 0, 0
    for first, (wanted, got) in _compared_pairs(reference, outputs, batches):
        if first:
            same = wanted.argmax(axis=-1) == got.argmax(axis=-1)
            agree, rows = agree + int(same.sum()), rows + same.size
    return agree / max(rows, 1)


def all_finite(outputs: Sequence[Outputs]) -> bool:
    """Whether metrics and decisions can be asked for: they refuse other numbers."""
    return all(bool(np.isfinite(values).all()) for batch in outputs for values in batch.values())


def differences(
    reference: Sequence[Outputs], outputs: Sequence[Outputs], batches: Sequence[Batch]
) -> dict[str, float]:
    """{"max_abs", "mean_abs"} over all outputs, {"argmax_agreement"} of the first; inf where one is not finite."""
    apart = distance(reference, outputs, batches)
    return {
        "max_abs": apart.max_abs,
        "mean_abs": apart.mean_abs,
        "argmax_agreement": argmax_agreement(reference, outputs, batches),
    }


def _compared_pairs(
    reference: Sequence[Outputs], outputs: Sequence[Outputs], batches: Sequence[Batch]
) -> Iterator[tuple[bool, tuple[np.ndarray, np.ndarray]]]:
    """(is the first output, (reference array, other array)) with hidden positions removed."""
    for wanted, got, batch in zip(reference, outputs, batches, strict=True):
        common = [name for name in wanted if name in got]
        if not common:
            raise InputError(
                f"the routes share no output, got {sorted(got)} against {sorted(wanted)}; export again"
            )
        for position, name in enumerate(common):
            if wanted[name].shape != got[name].shape:
                raise InputError(
                    f"output {name} has shape {got[name].shape}, torch gives {wanted[name].shape}; export again"
                )
            yield position == 0, (_visible(wanted[name], batch), _visible(got[name], batch))


def _visible(array: np.ndarray, batch: Batch) -> np.ndarray:
    """Rows [tokens, ...] of a per-token output that the mask lets through; other outputs as they are."""
    mask = batch.get("attention_mask")
    if mask is None or array.ndim < 3 or array.shape[:2] != mask.shape:
        return array
    return array[mask.astype(bool)]
