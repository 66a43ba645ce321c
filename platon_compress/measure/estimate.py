"""What pruning could gain, before anybody trains: random masks, the real export, paired timing.

The figures are an upper bound on the speed of a trained model at the same sparsity: random masks spread the
non-zeros evenly over rows and columns, trained masks do not. Nothing is said about accuracy.
"""

import copy
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, first_line
from platon_compress.export.session import open_session
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import PairedRatio, compare, measure_interleaved
from platon_compress.progress import Progress, Steps
from platon_compress.schemas import stamped

if TYPE_CHECKING:
    import torch

    from platon_compress.planning import PlanConfig

__all__ = ["UPPER_BOUND", "Estimate", "EstimateRow", "estimate"]

UPPER_BOUND = (
    "Upper bound: random masks spread the non-zeros evenly, trained masks do not; accuracy is not estimated."
)

_DENSE, _INT8 = "dense", "dense_int8"


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
    size. ``cost_table`` None: this model's shapes are calibrated first. ``values``: as in `PlanConfig`.
    ``progress(done, total, what)``.

    Raises:
        InputError: a sparsity outside (0, 1), a model without linear layers to prune, or inputs that cannot
            be made up (then give ``example_inputs``).
    """
    _check(sparsities)
    inputs = dict(example_inputs or _example_inputs(model, batch=batch, tokens=tokens))
    steps = Steps(len(sparsities) + 3, progress)
    with tempfile.TemporaryDirectory(prefix="platon-estimate-") as name, _evaluating(model):
        folder = Path(name)
        config = replace(_plan_config(model, inputs, threads, cost_table), values=values)
        files, notes = _dense_files(model, inputs, folder)
        steps.advance("export of the dense model")
        if cost_table is None:
            config = _calibrated(model, min(sparsities), max(sparsities), config, folder)
        steps.advance("calibration")
        forms: dict[str, dict[str, int]] = {}
        for sparsity in sparsities:
            path, counts = _sparse_file(model, sparsity, inputs, config, folder)
            files[path.stem], forms[path.stem] = path, counts
            steps.advance(f"export at {sparsity:.0%}")
        samples = _time(files, inputs, config.used_threads, runs)
        steps.advance("paired timing")
        rows = tuple(_row(name, path, samples, forms.get(name, {})) for name, path in files.items())
    return Estimate(
        rows=rows,
        tokens=config.rows // batch,
        batch=batch,
        threads=config.used_threads,
        notes=notes,
        environment=describe_environment(threads=config.used_threads),
        samples=samples,
    )


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


@contextmanager
def _evaluating(model: "torch.nn.Module") -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _example_inputs(model: Any, *, batch: int, tokens: int) -> "dict[str, torch.Tensor]":
    """Random ids or pixels of the size that the model's config states."""
    import torch

    generator = torch.Generator().manual_seed(0)
    config: Any = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    if main == "pixel_values" and hasattr(config, "image_size"):
        side = config.image_size
        height, width = (side, side) if isinstance(side, int) else side
        shape = (batch, getattr(config, "num_channels", 3), height, width)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    if main == "input_ids" and hasattr(config, "vocab_size"):
        low = min(5, config.vocab_size - 1)  # above the usual special tokens
        ids = torch.randint(low, config.vocab_size, (batch, tokens), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    raise InputError(f"cannot make up inputs for {type(model).__name__}; give example_inputs")


def _plan_config(
    model: Any, inputs: "Mapping[str, torch.Tensor]", threads: int | None, cost_table: Path | None
) -> "PlanConfig":
    """The rows that really reach the first prunable linear layer: image models have their own token count."""
    import torch

    from platon_compress.planning import PlanConfig
    from platon_compress.selection import select

    seen: list[int] = []
    path = next(iter(select(model))).removesuffix(".weight")
    handle = model.get_submodule(path).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].numel() // args[0].shape[-1])
    )
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        handle.remove()
    return PlanConfig(tokens=seen[0], threads=threads, cost_table=cost_table)


def _dense_files(
    model: Any, inputs: "Mapping[str, torch.Tensor]", folder: Path
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """dense, and its dynamic int8 version: the cheap alternative that every user has."""
    from platon_compress.export.int8 import quantize_int8
    from platon_compress.export.torch_export import export_onnx

    dense, int8 = folder / f"{_DENSE}.onnx", folder / f"{_INT8}.onnx"
    export_onnx(model, dense, inputs)
    try:
        choice = quantize_int8(dense, int8, [{name: value.numpy() for name, value in inputs.items()}])
    except InputError as error:
        return {_DENSE: dense}, (first_line(error),)
    return {_DENSE: dense, _INT8: int8}, (f"dense int8: {choice.setting}, by {choice.chosen_by}",)


def _calibrated(
    model: Any, lowest: float, highest: float, config: "PlanConfig", folder: Path
) -> "PlanConfig":
    from platon_compress.measure.calibrate import calibrate, write_cost_table
    from platon_compress.selection import select

    shapes = {(p.shape[0], p.shape[1]) for p in select(model).values()}
    # Random masks land within a fraction of a percent of their sparsity; the table must reach a little past it.
    densities = {max(0.8 * (1 - highest), 0.005), 1 - highest, 1 - lowest, min(1.2 * (1 - lowest), 1.0)}
    int8 = config.values != "float32"
    table = calibrate(sorted(shapes), densities, (config.rows,), (config.used_threads,), int8=int8)
    return replace(config, cost_table=write_cost_table(table, folder / "cost_table.json"))


def _sparse_file(
    model: Any, sparsity: float, inputs: "Mapping[str, torch.Tensor]", config: "PlanConfig", folder: Path
) -> tuple[Path, dict[str, int]]:
    import torch

    from platon_compress.baking import bake
    from platon_compress.conversion import convert
    from platon_compress.export.torch_export import export_onnx
    from platon_compress.planning import plan
    from platon_compress.selection import select

    pruned = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    masks = {n: torch.rand(p.shape, generator=generator) >= sparsity for n, p in select(pruned).items()}
    baked = bake(pruned, masks)
    made = plan(baked, config)
    path = folder / f"{_name(sparsity)}.onnx"
    export_onnx(convert(baked, made), path, inputs)
    return path, made.spoken_counts()


def _time(
    files: Mapping[str, Path], inputs: "Mapping[str, torch.Tensor]", threads: int, runs: int
) -> dict[str, tuple[float, ...]]:
    feed = {name: value.numpy() for name, value in inputs.items()}
    sides = {name: _runner(path, feed, threads) for name, path in files.items()}
    return measure_interleaved(sides, runs=runs, warmup=3)


def _runner(path: Path, feed: Mapping[str, Any], threads: int) -> Callable[[], object]:
    session = open_session(path, threads=threads, stop_spinning=True)
    taken = {value.name: feed[value.name] for value in session.get_inputs()}
    return lambda: session.run(None, taken)


def _row(
    name: str, path: Path, samples: Mapping[str, Sequence[float]], forms: Mapping[str, int]
) -> EstimateRow:
    return EstimateRow(
        name=name,
        sparsity=float(name.removeprefix("sparsity_")) if name.startswith("sparsity_") else 0.0,
        size_bytes=path.stat().st_size,
        p50_seconds=statistics.median(samples[name]),
        speedup=None if name == _DENSE else compare(samples, baseline=_DENSE, candidate=name),
        forms=dict(forms),
    )
