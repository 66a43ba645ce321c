"""The four-way parity: torch pruned, torch converted, ONNX pruned, ONNX compressed (with and without our library).

Every route computes the same batches; every row compares one route with torch pruned, the model as trained.
Positions that `attention_mask` hides are not compared: nobody may read them. A file with 8-bit weights computes something
else than the model: its float32 form, the same graph before rounding, takes its place in the rows, and what is required of
the file itself stands in `rounding`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError
from platon_compress.export.node_check import check_nodes
from platon_compress.export.operators import Operator
from platon_compress.export.outputs import all_finite, differences, onnx_outputs
from platon_compress.export.quantize import rounded_operators
from platon_compress.export.reading import load_ir
from platon_compress.export.rounding import (
    COMPRESSED,
    COMPRESSED_STOCK,
    FLOAT32,
    RoundedFile,
    check_rounded,
    sampled_places,
)
from platon_compress.export.sensitivity import operator_costs
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
_FLOAT32_STOCK = "onnx_float32_stock"


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """rows: one per route against torch pruned, {"pair", "max_abs", "mean_abs", "argmax_agreement"}.

    scores: route -> its metrics over all examples; empty where nothing was scored.
    trivial: the primary metric of an answer that does not look at its input; None where nobody said.
    atol: the largest difference allowed. rounded: of a file with 8-bit weights.
    passed: every max_abs is finite and at most atol, and a file with 8-bit weights gives the same answers everywhere.
    """

    rows: tuple[dict[str, Any], ...]
    scores: dict[str, Scores] = field(default_factory=dict)
    trivial: float | None = None
    examples: int
    atol: float
    passed: bool
    rounded: RoundedFile | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        content = {
            "rows": list(self.rows),
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "trivial": self.trivial,
            "examples": self.examples,
            "atol": self.atol,
            "passed": self.passed,
            "rounded": None if self.rounded is None else self.rounded.to_dict(),
        }
        return stamped("parity", content)


def verify(
    *,
    pruned: "torch.nn.Module",
    converted: "torch.nn.Module",
    onnx_pruned: str | Path,
    onnx_compressed: str | Path,
    onnx_float32: str | Path | None = None,
    batches: Sequence[Batch] | Evaluation,
    atol: float = 1e-4,
    min_examples: int = 64,
    extra_onnx: Mapping[str, str | Path] | None = None,
    sensitivity: bool = False,
    progress: Progress | None = None,
) -> ParityReport:
    """Run every route on `batches` and compare.

    batches: model inputs by name, each [batch, ...]; real examples of mixed lengths with padding. An `Evaluation`
    (see `scoring.accuracy_evaluation`) also says how answers are scored. extra_onnx: name -> file of which only
    the metric is taken (the dense baseline, its int8 version). onnx_float32: the form of `onnx_compressed` before its
    weights were rounded (`export_onnx(..., unrounded=...)`), where they are 8-bit numbers; see `rounding` for the rules.
    sensitivity: say of each of its operators what rounding it alone costs.
    atol: largest difference allowed, times the scale of the outputs where it is above 1.
    Raises InputError for too few examples or a missing file.
    """
    evaluation = as_evaluation(batches)
    _check_count(evaluation, min_examples)
    same = _same_computation(pruned, converted)
    extra = {} if evaluation.score is None else extra_onnx or {}
    routes = 4 + len(extra) + (not same) + (0 if onnx_float32 is None else 2)
    sampled = [] if onnx_float32 is None else sampled_places(evaluation.batches)
    one_by_one = rounded_operators(load_ir(onnx_compressed)) if onnx_float32 and sensitivity else {}
    steps = Steps(len(evaluation.batches) * routes + len(sampled) + len(one_by_one), progress)
    work = _Work(evaluation=evaluation, allowed=atol * max(1.0, evaluation.scale), steps=steps)
    work.reference = work.torch(REFERENCE, pruned)
    work.score(REFERENCE, work.reference)
    work.compare(_CONVERTED, work.reference if same else work.torch(_CONVERTED, converted))
    work.compare(_ONNX_PRUNED, work.onnx(_ONNX_PRUNED, onnx_pruned, library=False))
    rounded = None
    if onnx_float32 is None:
        work.compare(COMPRESSED, work.onnx(COMPRESSED, onnx_compressed, library=True))
        work.compare(COMPRESSED_STOCK, work.onnx(COMPRESSED_STOCK, onnx_compressed, library=False))
    else:
        rounded = _both_forms(work, onnx_float32, onnx_compressed, sampled, one_by_one)
    for name, path in extra.items():
        work.score(name, work.onnx(name, path, library=False))
    return work.report(rounded)


@dataclass
class _Work:
    """A check in progress. allowed: the largest difference; reference: the outputs of torch pruned."""

    evaluation: Evaluation
    allowed: float
    steps: Steps
    reference: Sequence[Outputs] = ()
    rows: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, Scores] = field(default_factory=dict)

    def torch(self, name: str, model: "torch.nn.Module") -> Sequence[Outputs]:
        return torch_outputs(model, self.steps.over(self.evaluation.batches, name))

    def onnx(self, name: str, path: str | Path, *, library: bool) -> Sequence[Outputs]:
        return onnx_outputs(path, self.steps.over(self.evaluation.batches, name), use_library=library)

    def score(self, name: str, outputs: Sequence[Outputs]) -> None:
        if self.evaluation.score is not None:
            self.scores[name] = self.evaluation.score(outputs)

    def compare(self, name: str, outputs: Sequence[Outputs]) -> None:
        """One row, and the metric."""
        apart = differences(self.reference, outputs, self.evaluation.batches)
        self.rows.append({"pair": f"{REFERENCE} vs {name}", **apart})
        self.score(name, outputs)

    def report(self, rounded: RoundedFile | None) -> ParityReport:
        equal = all(math.isfinite(row["max_abs"]) and row["max_abs"] <= self.allowed for row in self.rows)
        return ParityReport(
            rows=tuple(self.rows),
            scores=self.scores,
            trivial=self.evaluation.trivial,
            examples=self.evaluation.examples,
            atol=self.allowed,
            passed=equal and (rounded is None or rounded.passed),
            rounded=rounded,
        )


def _both_forms(
    work: _Work,
    float32: str | Path,
    path: str | Path,
    sampled: Sequence[int],
    one_by_one: Mapping[str, Operator],
) -> RoundedFile:
    """The float32 form as any compressed file; the file itself by the rules of `rounding`.

    sampled: places of the batches that operators run on. one_by_one: operators of which is said what each costs.
    """
    unrounded = work.onnx(FLOAT32, float32, library=True)
    work.compare(FLOAT32, unrounded)
    work.compare(_FLOAT32_STOCK, work.onnx(_FLOAT32_STOCK, float32, library=False))
    outputs = {
        FLOAT32: unrounded,
        COMPRESSED: work.onnx(COMPRESSED, path, library=True),
        COMPRESSED_STOCK: work.onnx(COMPRESSED_STOCK, path, library=False),
    }
    for name in (COMPRESSED, COMPRESSED_STOCK):
        if all_finite(outputs[name]):
            work.score(name, outputs[name])
    batches = [work.evaluation.batches[place] for place in sampled]
    exact = [unrounded[place] for place in sampled]
    operators = check_nodes(path, work.steps.over(batches, "8-bit operators by themselves"))
    costs = operator_costs(one_by_one, float32, batches, exact, work.steps)
    return check_rounded(path, float32, work.evaluation, outputs, work.scores, operators, costs)


def _check_count(evaluation: Evaluation, least: int) -> None:
    if evaluation.examples < least:
        raise InputError(f"parity needs {least} examples, got {evaluation.examples}; give it more data")


def torch_outputs(module: "torch.nn.Module", batches: Sequence[Batch]) -> list[Outputs]:
    """Tensor outputs of a torch model in eval mode, per batch; its mode is restored."""
    import torch

    from platon_compress.incoming import evaluating

    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    with evaluating(module), torch.no_grad():
        return [_torch_batch(module, batch, device) for batch in batches]


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
