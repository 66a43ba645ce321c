"""The four-way parity: torch pruned, torch converted, ONNX pruned, ONNX compressed (with and without our library).

Every route computes the same batches; every row compares one route with torch pruned, the model as trained.
Positions that `attention_mask` hides are not compared: nobody may read them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.export.session import open_session
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

_Batch = Mapping[str, np.ndarray]
_Outputs = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """rows: one per route against torch pruned, {"pair", "max_abs", "mean_abs", "argmax_agreement"}.

    metrics: route -> {metric name: value, "standard_error": its standard error}, over all examples.
    passed: every max_abs is finite and at most atol.
    """

    rows: tuple[dict[str, Any], ...]
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    metric: str = "accuracy"
    examples: int
    atol: float
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        content = {
            "rows": list(self.rows),
            "metrics": self.metrics,
            "metric": self.metric,
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
    batches: Sequence[_Batch],
    labels: Sequence[np.ndarray] | None = None,
    atol: float = 1e-4,
    min_examples: int = 64,
    extra_onnx: Mapping[str, str | Path] | None = None,
    metric: str = "accuracy",
) -> ParityReport:
    """Run every route on `batches` and compare.

    batches: model inputs by name, each [batch, ...]; real examples of mixed lengths with padding.
    labels: class numbers [batch] per batch, for the metric. extra_onnx: name -> file of which only the metric
    is taken (the dense baseline, its int8 version).
    Raises InputError for too few examples, labels that do not fit, an unknown metric, or a missing file.
    """
    examples = _checked_examples(batches, labels, min_examples, metric)
    reference = _torch_outputs(pruned, batches)
    routes: dict[str, list[_Outputs]] = {REFERENCE: reference}
    same = _same_computation(pruned, converted)
    routes[_CONVERTED] = reference if same else _torch_outputs(converted, batches)
    routes[_ONNX_PRUNED] = _onnx_outputs(onnx_pruned, batches, use_library=False)
    routes[_COMPRESSED] = _onnx_outputs(onnx_compressed, batches, use_library=True)
    routes[_COMPRESSED_STOCK] = _onnx_outputs(onnx_compressed, batches, use_library=False)
    rows: tuple[dict[str, Any], ...] = tuple(
        {"pair": f"{REFERENCE} vs {name}", **_difference(reference, outputs, batches)}
        for name, outputs in routes.items()
        if name != REFERENCE
    )
    metrics = {}
    if labels is not None:
        for name, path in (extra_onnx or {}).items():
            routes[name] = _onnx_outputs(path, batches, use_library=False)
        metrics = {name: _accuracy(outputs, labels) for name, outputs in routes.items()}
    passed = all(math.isfinite(row["max_abs"]) and row["max_abs"] <= atol for row in rows)
    return ParityReport(
        rows=rows, metrics=metrics, metric=metric, examples=examples, atol=atol, passed=passed
    )


def _checked_examples(
    batches: Sequence[_Batch], labels: Sequence[np.ndarray] | None, min_examples: int, metric: str
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


def _torch_outputs(module: "torch.nn.Module", batches: Sequence[_Batch]) -> list[_Outputs]:
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


def _torch_batch(module: "torch.nn.Module", batch: _Batch, device: Any) -> _Outputs:
    import torch

    inputs = {name: torch.as_tensor(value).to(device) for name, value in batch.items()}
    result = module(**inputs, return_dict=True)
    return {k: v.cpu().numpy() for k, v in result.items() if isinstance(v, torch.Tensor)}


def _onnx_outputs(path: str | Path, batches: Sequence[_Batch], *, use_library: bool) -> list[_Outputs]:
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


def _difference(
    reference: Sequence[_Outputs], outputs: Sequence[_Outputs], batches: Sequence[_Batch]
) -> dict[str, float]:
    """Largest and mean absolute difference over all outputs; agreement of the first output's argmax."""
    largest, total, count = 0.0, 0.0, 0
    agree, decisions = 0, 0
    for first, (a, b) in _pairs(reference, outputs, batches):
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


def _pairs(
    reference: Sequence[_Outputs], outputs: Sequence[_Outputs], batches: Sequence[_Batch]
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


def _visible(array: np.ndarray, batch: _Batch) -> np.ndarray:
    """Rows [tokens, ...] of a per-token output that the mask lets through; other outputs as they are."""
    mask = batch.get("attention_mask")
    if mask is None or array.ndim < 3 or array.shape[:2] != mask.shape:
        return array
    return array[mask.astype(bool)]


def _accuracy(outputs: Sequence[_Outputs], labels: Sequence[np.ndarray]) -> dict[str, float]:
    """Share of right argmax decisions of the first output, with its binomial standard error."""
    hits = [
        next(iter(out.values())).argmax(axis=-1) == np.asarray(part)
        for out, part in zip(outputs, labels, strict=True)
    ]
    right = np.concatenate(hits)
    value = float(right.mean())
    return {"accuracy": value, "standard_error": math.sqrt(value * (1 - value) / right.size)}
