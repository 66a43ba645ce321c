"""The stage that proves what the files compute: parity, the metric, and what 8-bit values change."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from platon_compress.errors import CheckFailedError
from platon_compress.measure.bench_report import VARIANTS
from platon_compress.pipeline.workspace import Workspace
from platon_compress.report.rounding import (
    rounding_failures,
    spoken_cost,
    spoken_operators,
    spoken_rounding,
    spoken_way,
)
from platon_compress.report.words import WAYS
from platon_compress.scoring import Evaluation
from platon_compress.tasks.pools import pooled_evaluation
from platon_compress.tasks.synthetic import synthetic_batches

if TYPE_CHECKING:
    from platon_compress.export.parity import ParityReport

__all__ = ["CHOOSING_EXAMPLES", "SMALL_BATCH", "verification", "verify_stage"]

CHOOSING_EXAMPLES = 256
"""Settings of 8-bit files are chosen by so many examples, which the published metric need not share."""

SMALL_BATCH = 8
"""Verifying and metrics use small batches, so that most batches hold padding."""


def verify_stage(work: Workspace) -> dict[str, Any]:
    """Write parity.json. Raises CheckFailedError where the files do not compute what they should."""
    from platon_compress.export import verify

    section, onnx = work.recipe.verify, work.folder.onnx
    rivals = {name: onnx / VARIANTS[name] for name in ("dense", "dense_int8")}
    float32 = onnx / VARIANTS["compressed_float32"]
    with work.reporter.progress("  parity and metric") as progress:
        report = verify(
            pruned=work.baked.model,
            converted=work.compressed.model,
            onnx_pruned=onnx / VARIANTS["pruned"],
            onnx_compressed=onnx / VARIANTS["compressed"],
            onnx_float32=float32 if float32.is_file() else None,
            batches=verification(work, "test"),
            atol=section.atol,
            min_examples=section.examples,
            sensitivity=section.sensitivity,
            extra_onnx={name: path for name, path in rivals.items() if path.is_file()},
            progress=progress,
        )
    _refuse_not_finite(report)
    result = {**report.to_dict(), "inputs": _inputs(work)}
    work.folder.write_json("parity.json", result)
    worst = max(row["max_abs"] for row in result["rows"])
    work.reporter.say(
        f"  largest difference {worst:.2e} over {report.examples} examples ({result['inputs']})"
    )
    for line in _spoken(result):
        work.reporter.say(f"  {line}")
    _refuse_differences(report, worst, work)
    rounding = {} if report.rounded is None else {"rounding": report.rounded.rounding.to_dict()}
    return {"passed": True, "max_abs": worst, "examples": report.examples, **rounding}


def verification(work: Workspace, split: str, limit: int | None = None) -> Evaluation:
    """Examples of the "validation" or "test" data, at most `limit`; without data random inputs, not scored."""
    if not work.recipe.judges:
        return Evaluation(batches=_synthetic(work))
    examples = work.validation if split == "validation" else work.test
    if limit is not None:
        examples = work.task.part(examples, limit)
    return pooled_evaluation(work.task, examples, work.checkpoint, SMALL_BATCH)


def _synthetic(work: Workspace) -> list[Any]:
    return synthetic_batches(
        work.checkpoint,
        examples=work.recipe.verify.examples,
        tokens=work.sequence_length(),
        batch_size=SMALL_BATCH,
    )


def _inputs(work: Workspace) -> str:
    if not work.recipe.judges:
        return "random inputs"
    return f"{'test' if work.data.has_test else 'validation'} data"


def _spoken(parity: dict[str, Any]) -> Iterator[str]:
    if parity["rounded"] is not None:
        rounded = parity["rounded"]
        yield from map(spoken_operators, rounded["operators"])
        yield f"8-bit file: {spoken_way(rounded['elsewhere'])}"
        yield f"8-bit values: {spoken_rounding(rounded['rounding'])}"
        yield from map(spoken_cost, rounded["sensitivity"])


def _refuse_not_finite(report: "ParityReport") -> None:
    """Before anything is written: infinity is no JSON."""
    for what, size in _sizes(report):
        if not math.isfinite(size):
            raise CheckFailedError(
                f"parity failed: {what}: outputs are not finite, or not in the same places; look for NaN and "
                "infinity in the checkpoint's weights and activations"
            )


def _sizes(report: "ParityReport") -> Iterator[tuple[str, float]]:
    """What was compared, and how far it is apart."""
    yield from ((row["pair"], row["max_abs"]) for row in report.rows)
    rounded = report.rounded
    if rounded is not None:
        yield from ((near.pair, near.max_abs) for near in (rounded.elsewhere, rounded.rounding))
        for check in rounded.operators:
            yield f"operator {check.worst} alone, {WAYS.get(check.way, check.way)}", check.max_abs
        for cost in rounded.sensitivity:
            yield f"operator {cost.operator} alone with 8-bit values", cost.relative_error


def _refuse_differences(report: "ParityReport", worst: float, work: Workspace) -> None:
    path = work.folder.path / "parity.json"
    if worst > report.atol:
        raise CheckFailedError(
            f"parity failed: largest difference {worst:.2e} is beyond atol {report.atol:g}; see "
            f"{path}, or raise verify.atol (--atol of compress) if that is acceptable"
        )
    failure = next(rounding_failures({} if report.rounded is None else report.rounded.to_dict()), None)
    if failure is not None:
        raise CheckFailedError(
            f"parity failed: 8-bit values: {failure}; see {path}, or take plan.values: float32"
        )
