"""Running an ONNX file over batches, and comparing what two routes answer.

A batch maps input names to arrays [batch, ...]; outputs map output names to arrays, one mapping per batch. Positions
that `attention_mask` hides are not compared: nobody may read them.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from platon_compress.errors import InputError
from platon_compress.export.session import open_session
from platon_compress.scoring import Batch, Outputs

__all__ = ["compared_pairs", "differences", "onnx_outputs", "relative_error"]


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


def differences(
    reference: Sequence[Outputs], outputs: Sequence[Outputs], batches: Sequence[Batch]
) -> dict[str, float]:
    """{"max_abs", "mean_abs"} over all outputs, {"argmax_agreement"} of the first; inf where one is not finite."""
    largest, total, count = 0.0, 0.0, 0
    agree, decisions = 0, 0
    for first, (a, b) in compared_pairs(reference, outputs, batches):
        gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
        largest = max(largest, float(gap.max(initial=0.0))) if np.isfinite(gap).all() else math.inf
        total, count = total + float(gap.sum()), count + gap.size
        if first:
            same = a.argmax(axis=-1) == b.argmax(axis=-1)
            agree, decisions = agree + int(same.sum()), decisions + same.size
    return {
        "max_abs": largest,
        "mean_abs": total / max(count, 1),
        "argmax_agreement": agree / max(decisions, 1),
    }


def relative_error(
    outputs: Sequence[Outputs], reference: Sequence[Outputs], batches: Sequence[Batch]
) -> float:
    """The length of the difference over that of the reference, of all numbers that may be read."""
    gap = size = 0.0
    for _, (wanted, got) in compared_pairs(reference, outputs, batches):
        exact = wanted.astype(np.float64)
        apart = got - exact
        gap, size = gap + float(np.vdot(apart, apart)), size + float(np.vdot(exact, exact))
    return math.sqrt(gap / size) if size else math.sqrt(gap)


def compared_pairs(
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
