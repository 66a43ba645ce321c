"""What pruning could gain, before anybody trains: random masks, the real export, paired timing.

The figures are an upper bound on the speed of a trained model at the same sparsity: random masks spread the
non-zeros evenly over rows and columns, trained masks do not. Nothing is said about accuracy.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError
from platon_compress.measure.timing import PairedRatio, compare
from platon_compress.measure.trial_files import DENSE, Trial, trying
from platon_compress.measure.trial_masks import ELEMENT, TrialMasks
from platon_compress.progress import Progress, Steps
from platon_compress.schemas import stamped

if TYPE_CHECKING:
    import torch

__all__ = ["UPPER_BOUND", "Estimate", "EstimateRow", "estimate"]

UPPER_BOUND = (
    "Upper bound: random masks spread the non-zeros evenly, trained masks do not; accuracy is not estimated."
)


@dataclass(frozen=True, kw_only=True)
class EstimateRow:
    """One variant: ``dense``, ``dense_int8``, or a sparsity. ``speedup`` is over dense, pair by pair.

    ``forms``: layers by form and value type, for example {"csr int8": 33, "dense": 3}.
    """

    name: str
    sparsity: float
    size_bytes: int
    p50_seconds: float
    speedup: PairedRatio | None
    forms: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Rows in the order dense, dense int8 (where it can be made), then the sparsities as given."""

    rows: tuple[EstimateRow, ...]
    tokens: int
    batch: int
    threads: int
    label: str = UPPER_BOUND
    notes: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    samples: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, raw samples in seconds included."""
        return stamped("estimate", asdict(self))


def estimate(
    model: "torch.nn.Module",
    sparsities: Sequence[float],
    *,
    tokens: int = 128,
    batch: int = 1,
    threads: int | None = None,
    example_inputs: "Mapping[str, torch.Tensor] | None" = None,
    cost_table: Path | None = None,
    values: str = "float32",
    runs: int = 20,
    progress: Progress | None = None,
) -> Estimate:
    """Time ``model`` dense against itself at each sparsity, in ONNX Runtime on this machine.

    ``model`` is left as it is. ``tokens`` is the sequence length of text models; image models take their own
    size. ``cost_table`` None: this model's shapes are calibrated first. ``values``: as in `PlanConfig`; attention
    between 8-bit weights is what a recipe makes of it by default.
    ``progress(done, total, what)``.

    Raises:
        InputError: a sparsity outside (0, 1), a model without linear layers to prune, or inputs that cannot
            be made up (then give ``example_inputs``).
    """
    _check(sparsities)
    steps = Steps(len(sparsities) + 3, progress)
    with trying(model, example_inputs, batch=batch, tokens=tokens, threads=threads) as trial:
        steps.advance("export of the dense model")
        table = _cost_table(trial, sparsities, values) if cost_table is None else cost_table
        config = replace(trial.config, values=values, cost_table=table)
        steps.advance("calibration")
        zeros, forms = TrialMasks(model, ELEMENT), {}
        for sparsity in sparsities:
            name = _name(sparsity)
            forms[name] = trial.add(name, zeros.masks(sparsity), config)
            steps.advance(f"export at {sparsity:.0%}")
        samples = trial.time(runs)
        steps.advance("paired timing")
        rows = tuple(_row(name, path, samples, forms.get(name, {})) for name, path in trial.files.items())
        return Estimate(rows=rows, samples=samples, **trial.facts())


def _check(sparsities: Sequence[float]) -> None:
    if not sparsities:
        raise InputError("no sparsity to estimate; give at least one, for example 0.9")
    for value in sparsities:
        if not 0 < value < 1:
            raise InputError(f"sparsity must be between 0 and 1, got {value!r}; 0.9 keeps one weight in ten")
    if len({_name(value) for value in sparsities}) < len(sparsities):
        raise InputError(f"a sparsity is given twice in {list(sparsities)}; give each once")


def _name(sparsity: float) -> str:
    return f"sparsity_{sparsity:g}"


def _cost_table(trial: Trial, sparsities: Sequence[float], values: str) -> Path:
    lowest, highest = min(sparsities), max(sparsities)
    # Random masks land within a fraction of a percent of their sparsity; the table must reach a little past it.
    densities = {max(0.8 * (1 - highest), 0.005), 1 - highest, 1 - lowest, min(1.2 * (1 - lowest), 1.0)}
    return trial.calibrate(densities, int8=values != "float32")


def _row(
    name: str, path: Path, samples: Mapping[str, Sequence[float]], forms: Mapping[str, int]
) -> EstimateRow:
    return EstimateRow(
        name=name,
        sparsity=float(name.removeprefix("sparsity_")) if name.startswith("sparsity_") else 0.0,
        size_bytes=path.stat().st_size,
        p50_seconds=statistics.median(samples[name]),
        speedup=None if name == DENSE else compare(samples, baseline=DENSE, candidate=name),
        forms=dict(forms),
    )
