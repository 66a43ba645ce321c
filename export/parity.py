"""The four-way parity: torch pruned, torch converted, ONNX pruned, ONNX compressed (with and without our library).

Every route computes the same batches; every row compares one route with torch pruned, the model as trained.
Positions that `attention_mask` hides are not compared: nobody may read them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError
from platon_compress.export.outputs import differences, onnx_outputs
from platon_compress.progress import Progress, Steps
from platon_compress.schemas import stamped
from platon_compress.scoring import Batch, Evaluation, Outputs, Scores, as_evaluation

if TYPE_CHECKING:
    import torch

__all__ = ["REFERENCE", "ParityReport", "torch_outputs", "verify"]

# Route names; the report and the verdict look them up.
REFERENCE = "torch_pruned"
_CONVERTED = "torch_converted"
_ONNX_PRUNED = "onnx_pruned"
_COMPRESSED = "onnx_compressed"
_COMPRESSED_STOCK = "onnx_compressed_stock"


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """rows: one per route against torch pruned, {"pair", "max_abs", "mean_abs", "argmax_agreement"}.

    scores: route -> its metrics over all examples; empty where nothing was scored.
    trivial: the primary metric of an answer that does not look at its input; None where nobody said.
    atol: the largest difference allowed. passed: every max_abs is finite and at most atol.
    """

    rows: tuple[dict[str, Any], ...]
    scores: dict[str, Scores] = field(default_factory=dict)
    trivial: float | None = None
    examples: int
    atol: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        content = {
            "rows": list(self.rows),
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "trivial": self.trivial,
            "examples": self.examples,
            "atol": self.atol,
            "passed": self.passed,
        }
        return stamped("parity", content)


def verify(
    *,
    pruned: "torch.nn.Module",
    converted: "torch.nn.Module",
    onnx_pruned: str | Path,
    onnx_compressed: str | Path,
    batches: Sequence[Batch] | Evaluation,
    atol: float = 1e-4,
    min_examples: int = 64,
    extra_onnx: Mapping[str, str | Path] | None = None,
    progress: Progress | None = None,
) -> ParityReport:
    """Run every route on `batches` and compare.

    batches: model inputs by name, each [batch, ...]; real examples of mixed lengths with padding. An `Evaluation`
    (see `scoring.accuracy_evaluation`) also says how answers are scored. extra_onnx: name -> file of which only
    the metric is taken (the dense baseline, its int8 version).
    atol: largest difference allowed, times the scale of the outputs where it is above 1.
    Raises InputError for too few examples or a missing file.
    """
    evaluation = as_evaluation(batches)
    allowed = atol * max(1.0, evaluation.scale)
    _check_count(evaluation, min_examples)
    same = _same_computation(pruned, converted)
    score = evaluation.score
    extra = {} if score is None else extra_onnx or {}
    steps = Steps(len(evaluation.batches) * (4 + len(extra) + (not same)), progress)
    reference = torch_outputs(pruned, steps.over(evaluation.batches, REFERENCE))
    scored = {} if score is None else {REFERENCE: score(reference)}
    rows: list[dict[str, Any]] = []
    for name, outputs in _routes(
        converted, reference if same else None, onnx_pruned, onnx_compressed, steps, evaluation
    ):
        rows.append({"pair": f"{REFERENCE} vs {name}", **differences(reference, outputs, evaluation.batches)})
        if score is not None:
            scored[name] = score(outputs)
    if score is not None:
        scored |= {
            name: score(onnx_outputs(path, steps.over(evaluation.batches, name), use_library=False))
            for name, path in extra.items()
        }
    return ParityReport(
        rows=tuple(rows),
        scores=scored,
        trivial=evaluation.trivial,
        examples=evaluation.examples,
        atol=allowed,
        passed=all(math.isfinite(row["max_abs"]) and row["max_abs"] <= allowed for row in rows),
    )


def _routes(
    converted: "torch.nn.Module",
    known: Sequence[Outputs] | None,
    onnx_pruned: str | Path,
    onnx_compressed: str | Path,
    steps: Steps,
    evaluation: Evaluation,
) -> Iterator[tuple[str, Sequence[Outputs]]]:
    """(name, outputs) of every route but the reference, one at a time; `known` are those of `converted`."""
    batches = evaluation.batches
    yield _CONVERTED, torch_outputs(converted, steps.over(batches, _CONVERTED)) if known is None else known
    for name, path, library in (
        (_ONNX_PRUNED, onnx_pruned, False),
        (_COMPRESSED, onnx_compressed, True),
        (_COMPRESSED_STOCK, onnx_compressed, False),
    ):
        yield name, onnx_outputs(path, steps.over(batches, name), use_library=library)


def _check_count(evaluation: Evaluation, least: int) -> None:
    if evaluation.examples < least:
        raise InputError(f"parity needs {least} examples, got {evaluation.examples}; give it more data")


def torch_outputs(module: "torch.nn.Module", batches: Sequence[Batch]) -> list[Outputs]:
    """Tensor outputs of a torch model in eval mode, per batch; its mode is restored."""
    import torch

    training = module.training
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.no_grad():
            return [_torch_batch(module, batch, device) for batch in batches]
    finally:
        module.train(training)


def _same_computation(one: "torch.nn.Module", other: "torch.nn.Module") -> bool:
    """Whether two models are the same modules with the same settings and, bit by bit, the same tensors.

    Then one run of a model that nothing was removed from tells for both.
    """
    import torch

    first, second = one.state_dict(), other.state_dict()
    return (
        _settings(one) == _settings(other)
        and first.keys() == second.keys()
        and all(torch.equal(first[name], second[name]) for name in first)
    )


def _settings(model: "torch.nn.Module") -> list[tuple[str, type, dict[str, Any]]]:
    """Every module's name, class and plain attributes: sizes, scales, numbers of heads, switches."""
    return [
        (
            name,
            type(module),
            {
                key: value
                for key, value in vars(module).items()
                if key != "training" and isinstance(value, int | float | str | tuple | None)
            },
        )
        for name, module in model.named_modules()
    ]


def _torch_batch(module: "torch.nn.Module", batch: Batch, device: Any) -> Outputs:
    import torch

    inputs = {name: torch.as_tensor(value).to(device) for name, value in batch.items()}
    result = module(**inputs, return_dict=True)
    return {k: v.cpu().numpy() for k, v in result.items() if isinstance(v, torch.Tensor)}
