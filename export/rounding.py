"""How near a file with 8-bit weights is to itself elsewhere, and to the same file before its weights were rounded.

The whole numbers of a product are defined exactly, what lies between two products is not: a last bit of an activation
function moves a rounding, and a few layers later roundings fall independently. So two right ways to run one file give
answers that are near to each other, not equal.

Rules:

1. [elsewhere] The file with the kernels that a session takes here is compared with the library's portable kernels, which
   define the numbers (on at least 64 examples from all over, because they are slow), and with stock ONNX Runtime. At least
   LEAST_AGREEMENT of the decisions must be the same; a single one that differs says nothing. A decision is what a user
   of the task reads: the class of a row, the tag of a word, the answer to a question, the first passage of a query.
2. Where there are no decisions (numbers, embeddings, inputs that nobody labelled), the cosine of all outputs must be at
   least LEAST_COSINE.
3. The task's metric with the library and without must not be apart by more than METRIC_APART with certainty: the interval
   of the paired difference reaches that far towards zero.
4. [rounding] Against its float32 form the file is measured, not judged: what the loss may be is a user's choice.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.export.outputs import compared_pairs, differences, onnx_outputs
from platon_compress.library import kernel_names, selected_kernel, taking_kernels
from platon_compress.scoring import Batch, Difference, Evaluation, Outputs, Scores

__all__ = [
    "FLOAT32",
    "LEAST_AGREEMENT",
    "LEAST_COSINE",
    "METRIC_APART",
    "PORTABLE",
    "Nearness",
    "RoundedFile",
    "check_rounded",
    "portable_batches",
]

LEAST_AGREEMENT = 0.995
LEAST_COSINE = 0.999
METRIC_APART = 0.001

FLOAT32 = "onnx_float32"
PORTABLE = "onnx_compressed_portable"
_PORTABLE_EXAMPLES = 64


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """Two ways' answers to the same examples.

    max_abs, mean_abs, cosine, relative_error: of all numbers that may be read; relative_error is the length of the
    difference over the second way's. outputs: how many numbers; differing: how many of them are not equal.
    decisions, changed, unit: how many, how many differ, what one is; 0 where the task has none.
    metric_difference: of the first way less the second, None where nothing was scored for both.
    passed: None where it is measured only.
    """

    pair: str
    max_abs: float
    mean_abs: float
    cosine: float
    relative_error: float
    argmax_agreement: float
    outputs: int
    differing: int
    decisions: int = 0
    changed: int = 0
    unit: str | None = None
    metric_difference: Difference | None = None
    passed: bool | None = None

    @property
    def agreement(self) -> float | None:
        """Share of the decisions that are the same; None without any."""
        return 1 - self.changed / self.decisions if self.decisions else None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**asdict(self), "agreement": self.agreement}


@dataclass(frozen=True, kw_only=True)
class RoundedFile:
    """What is known of a file with 8-bit weights. elsewhere: rule 1, against other ways to run it; rounding: rule 4."""

    elsewhere: tuple[Nearness, ...]
    rounding: Nearness

    @property
    def passed(self) -> bool:
        """Whether it gives the same answers everywhere, and finite ones."""
        return all(near.passed for near in self.elsewhere) and math.isfinite(self.rounding.max_abs)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "elsewhere": [near.to_dict() for near in self.elsewhere],
            "rounding": self.rounding.to_dict(),
            "least_agreement": LEAST_AGREEMENT,
            "least_cosine": LEAST_COSINE,
            "metric_apart": METRIC_APART,
        }


def check_rounded(
    path: str | Path,
    evaluation: Evaluation,
    ours: Sequence[Outputs],
    others: Mapping[str, Sequence[Outputs]],
    scores: Mapping[str, Scores],
    *,
    name: str,
    over: Callable[[Sequence[Batch], str], Sequence[Batch]],
) -> RoundedFile:
    """Compare by the rules above.

    ours: outputs of the file at `path` with the library, under `name`; others: those of its float32 form, under FLOAT32,
    and of the file in stock ONNX Runtime, under any name; scores: by those names, empty where nothing is scored.
    over: counts the batches that the portable kernels have done.
    """
    ways = {way: outputs for way, outputs in others.items() if way != FLOAT32}
    elsewhere = [_judged(_near(name, ours, way, out, evaluation, scores)) for way, out in ways.items()]
    if portable_batches(evaluation.batches):
        elsewhere.insert(0, _against_portable(path, evaluation, ours, name, over))
    rounding = _near(name, ours, FLOAT32, others[FLOAT32], evaluation, scores)
    return RoundedFile(elsewhere=tuple(elsewhere), rounding=rounding)


def portable_batches(batches: Sequence[Batch]) -> list[int]:
    """Numbers of the batches, from all over, that the portable kernels run; none where a session takes them anyway."""
    if kernel_names()[0] == selected_kernel():
        return []
    sizes = [len(next(iter(batch.values()))) for batch in batches]
    count = min(len(batches), -(-_PORTABLE_EXAMPLES * len(batches) // max(sum(sizes), 1)) or 1)
    return [place * len(batches) // count for place in range(count)]


def _against_portable(
    path: str | Path,
    evaluation: Evaluation,
    ours: Sequence[Outputs],
    name: str,
    over: Callable[[Sequence[Batch], str], Sequence[Batch]],
) -> Nearness:
    """On some of the batches; the decisions need all, so the others' outputs stand in on both sides."""
    chosen = portable_batches(evaluation.batches)
    batches = [evaluation.batches[place] for place in chosen]
    with taking_kernels(kernel_names()[0]):
        found = onnx_outputs(path, over(batches, PORTABLE), use_library=True)
    numbers = _numbers([ours[place] for place in chosen], found, batches)
    mixed = list(ours)
    for place, outputs in zip(chosen, found, strict=True):
        mixed[place] = outputs
    decided = _decided(evaluation, ours, mixed)
    share = sum(map(_rows, batches)) / max(sum(map(_rows, evaluation.batches)), 1)
    decided["decisions"] = math.ceil(decided["decisions"] * share)
    return _judged(Nearness(pair=f"{name} vs {PORTABLE}", **numbers, **decided))


def _near(
    name: str,
    ours: Sequence[Outputs],
    way: str,
    others: Sequence[Outputs],
    evaluation: Evaluation,
    scores: Mapping[str, Scores],
) -> Nearness:
    scored = name in scores and way in scores
    return Nearness(
        pair=f"{name} vs {way}",
        **_numbers(ours, others, evaluation.batches),
        **_decided(evaluation, ours, others),
        metric_difference=scores[name].minus(scores[way]) if scored else None,
    )


def _judged(near: Nearness) -> Nearness:
    return replace(near, passed=_passes(near))


def _passes(near: Nearness) -> bool:
    apart = near.metric_difference
    if not math.isfinite(near.max_abs):
        return False
    if near.decisions:
        same = near.changed <= max(1, math.floor((1 - LEAST_AGREEMENT) * near.decisions + 1e-9))
    else:
        same = near.cosine >= LEAST_COSINE
    return same and (apart is None or (apart.low <= METRIC_APART and apart.high >= -METRIC_APART))


def _numbers(ours: Sequence[Outputs], others: Sequence[Outputs], batches: Sequence[Batch]) -> dict[str, Any]:
    product = own = other = gap = 0.0
    outputs = differing = 0
    for a, b in _compared(ours, others, batches):
        product, own, other = product + float(a @ b), own + float(a @ a), other + float(b @ b)
        gap += float((a - b) @ (a - b))
        outputs, differing = outputs + a.size, differing + int(np.count_nonzero(a != b))
    apart = differences(others, ours, batches)
    finite = math.isfinite(apart["max_abs"])
    lengths = math.sqrt(own) * math.sqrt(other) if finite else 1.0
    return {
        **apart,
        "cosine": (product / lengths if lengths else float(own == other)) if finite else 0.0,
        "relative_error": (math.sqrt(gap / other) if other else math.sqrt(gap)) if finite else math.inf,
        "outputs": outputs,
        "differing": differing,
    }


def _compared(
    ours: Sequence[Outputs], others: Sequence[Outputs], batches: Sequence[Batch]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """float64 vectors of what may be read."""
    for _, (a, b) in compared_pairs(ours, others, batches):
        yield a.astype(np.float64).ravel(), b.astype(np.float64).ravel()


def _decided(evaluation: Evaluation, ours: Sequence[Outputs], others: Sequence[Outputs]) -> dict[str, Any]:
    if evaluation.decisions is None:
        return {"decisions": 0, "changed": 0, "unit": None}
    ours_decided, others_decided = evaluation.decisions(ours), evaluation.decisions(others)
    changed = sum(bool(a != b) for a, b in zip(ours_decided, others_decided, strict=True))
    return {"decisions": len(ours_decided), "changed": changed, "unit": evaluation.decision}


def _rows(batch: Batch) -> int:
    return len(next(iter(batch.values())))
