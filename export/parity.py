"""The four-way parity: torch pruned, torch converted, ONNX pruned, ONNX compressed (with and without our library).

Every route computes the same batches; every row compares one route with torch pruned, the model as trained.
Positions that `attention_mask` hides are not compared: nobody may read them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.export.outputs import Batch, Outputs, differences, onnx_outputs, right_answers
from platon_compress.progress import Progress, Steps
from platon_compress.schemas import stamped

if TYPE_CHECKING:
    import torch

__all__ = ["REFERENCE", "ParityReport", "verify"]

# Route names; the report and the verdict look them up.
REFERENCE = "torch_pruned"
_CONVERTED = "torch_converted"
_ONNX_PRUNED = "onnx_pruned"
_COMPRESSED = "onnx_compressed"
_COMPRESSED_STOCK = "onnx_compressed_stock"

_METRICS = ("accuracy",)


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """rows: one per route against torch pruned, {"pair", "max_abs", "mean_abs", "argmax_agreement"}.

    metrics: route -> {metric name: value, "standard_error": its standard error}, over all examples.
    right: route -> one "1" or "0" per example, in their order, so that two routes can be compared example by example.
    largest_class: what always answering the most frequent label would reach; None without labels.
    passed: every max_abs is finite and at most atol.
    """

    rows: tuple[dict[str, Any], ...]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    metric: str = "accuracy"
    right: dict[str, str] = field(default_factory=dict)
    largest_class: float | None = None
    examples: int
    atol: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        content = {
            "rows": list(self.rows),
            "metrics": self.metrics,
            "metric": self.metric,
            "right": self.right,
            "largest_class": self.largest_class,
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
    batches: Sequence[Batch],
    labels: Sequence[np.ndarray] | None = None,
    atol: float = 1e-4,
    min_examples: int = 64,
    extra_onnx: Mapping[str, str | Path] | None = None,
    metric: str = "accuracy",
    progress: Progress | None = None,
) -> ParityReport:
    """Run every route on `batches` and compare.

    batches: model inputs by name, each [batch, ...]; real examples of mixed lengths with padding.
    labels: class numbers [batch] per batch, for the metric. extra_onnx: name -> file of which only the metric
    is taken (the dense baseline, its int8 version).
    Raises InputError for too few examples, labels that do not fit, an unknown metric, or a missing file.
    """
    examples = _checked_examples(batches, labels, min_examples, metric)
    same = _same_computation(pruned, converted)
    extra = (extra_onnx or {}) if labels is not None else {}
    steps = Steps(len(batches) * (4 + len(extra) + (not same)), progress)
    reference = _torch_outputs(pruned, steps.over(batches, REFERENCE))
    routes: dict[str, list[Outputs]] = {REFERENCE: reference}
    routes[_CONVERTED] = reference if same else _torch_outputs(converted, steps.over(batches, _CONVERTED))
    for name, path, library in (
        (_ONNX_PRUNED, onnx_pruned, False),
        (_COMPRESSED, onnx_compressed, True),
        (_COMPRESSED_STOCK, onnx_compressed, False),
    ):
        routes[name] = onnx_outputs(path, steps.over(batches, name), use_library=library)
    rows: tuple[dict[str, Any], ...] = tuple(
        {"pair": f"{REFERENCE} vs {name}", **differences(reference, outputs, batches)}
        for name, outputs in routes.items()
        if name != REFERENCE
    )
    right: dict[str, np.ndarray] = {}
    if labels is not None:
        for name, path in extra.items():
            routes[name] = onnx_outputs(path, steps.over(batches, name), use_library=False)
        right = {name: right_answers(outputs, labels) for name, outputs in routes.items()}
    passed = all(math.isfinite(row["max_abs"]) and row["max_abs"] <= atol for row in rows)
    return ParityReport(
        rows=rows,
        metrics={name: _accuracy(hits) for name, hits in right.items()},
        metric=metric,
        right={name: "".join("1" if hit else "0" for hit in hits) for name, hits in right.items()},
        largest_class=None if labels is None else _largest_class(labels),
        examples=examples,
        atol=atol,
        passed=passed,
    )


def _checked_examples(
    batches: Sequence[Batch], labels: Sequence[np.ndarray] | None, min_examples: int, metric: str
) -> int:
    """Number of examples in `batches`."""
    if metric not in _METRICS:
        raise InputError(f"metric must be one of {', '.join(_METRICS)}, got {metric!r}; leave it out")
    sizes = [len(next(iter(batch.values()))) for batch in batches]
    if sum(sizes) < min_examples:
        raise InputError(f"parity needs {min_examples} examples, got {sum(sizes)}; give it more data")
    if labels is not None and [len(part) for part in labels] != sizes:
        raise InputError(
            f"labels must match the batches one by one, got {sum(map(len, labels))} labels for {sum(sizes)} "
            "examples; split them as the batches are split"
        )
    return sum(sizes)


def _torch_outputs(module: "torch.nn.Module", batches: Sequence[Batch]) -> list[Outputs]:
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


def _accuracy(right: np.ndarray) -> dict[str, float]:
    """Share of right answers, with its binomial standard error."""
    value = float(right.mean())
    return {"accuracy": value, "standard_error": math.sqrt(value * (1 - value) / right.size)}


def _largest_class(labels: Sequence[np.ndarray]) -> float:
    """What always answering the most frequent label would reach."""
    _, counts = np.unique(np.concatenate([np.ravel(part) for part in labels]), return_counts=True)
    return float(counts.max() / counts.sum())
