"""Reads the files of a run; nothing here judges or formats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.files import inner, read_json
from platon_compress.measure.bench_report import BenchReport, read_report
from platon_compress.measure.size import model_files
from platon_compress.report.words import metric_figure, metric_name
from platon_compress.schemas import require_kind
from platon_compress.scoring import Difference, Scores
from platon_compress.yaml_file import read_yaml

__all__ = ["Metric", "RunData", "read_run"]

_COMPRESSED_ROUTES = ("onnx_compressed", "compressed")
_INT8_ROUTES = ("dense_int8", "onnx_dense_int8")
_DENSE_ROUTES = ("dense", "onnx_dense")
_FLOAT32_ROUTES = ("onnx_float32",)
_CURE = "run that stage again"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A task metric with its standard error, both as fractions (0.85 is 85 %); `steps` of its training.

    scores: with its resamples, where parity kept them.
    """

    name: str
    value: float
    standard_error: float | None = None
    examples: int | None = None
    steps: int | None = None
    scores: Scores | None = None

    def minus(self, other: "Metric") -> Difference:
        """Paired where both answered the same examples; else from both standard errors, an upper bound."""
        if self.scores is not None and other.scores is not None:
            return self.scores.minus(other.scores)
        value = self.value - other.value
        margin = 2 * math.hypot(self.standard_error or 0.0, other.standard_error or 0.0)
        return Difference(value=value, low=value - margin, high=value + margin)


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What a run folder holds; mappings are empty where a file or stage is missing.

    file_problem: why the file that the report recommends cannot be taken (it is gone, or another one).
    """

    folder: Path
    bench: BenchReport
    plan: Mapping[str, Any]
    parity: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    file_problem: str | None = None

    def stage(self, name: str) -> Mapping[str, Any]:
        """The result of a finished stage, or an empty mapping."""
        stage = _mapping(_mapping(self.state.get("stages")).get(name))
        return _mapping(stage.get("result"))

    @property
    def task(self) -> str | None:
        """`text-classification`; None where the recipe names none."""
        model = self.recipe.get("model")
        task = model.get("task") if isinstance(model, dict) else self.recipe.get("task")
        return str(task) if task else None

    @property
    def split(self) -> str:
        """`test` or `validation`: the rows that the metric and parity were taken on."""
        return "test" if self.parity.get("inputs") == "test data" else "validation"

    @property
    def layers(self) -> Sequence[Mapping[str, Any]]:
        return self.plan["layers"]

    @property
    def sparsity(self) -> float | None:
        """Of the prunable weights: as baked, else computed from the plan's densities."""
        baked = self.stage("bake").get("sparsity")
        if isinstance(baked, int | float):
            return float(baked)
        sizes = [math.prod(layer["shape"]) for layer in self.layers]
        kept = sum(size * layer["density"] for size, layer in zip(sizes, self.layers, strict=True))
        return 1 - kept / sum(sizes) if sum(sizes) else None

    @property
    def compressed_metric(self) -> Metric | None:
        """Of compressed.onnx itself where parity measured it, else of the pruned model in torch."""
        return self._metric(_COMPRESSED_ROUTES, "choose" if self.stage("choose") else "prune")

    @property
    def has_dense_model(self) -> bool:
        """False for a sparse checkpoint that came alone: its "dense" file is the same weights, not a rival."""
        given = self.state.get("kind") != "compress" or any(map(self.recipe.get, ("dense", "oneshot")))
        return given and self.bench.baseline == "dense"

    @property
    def dense_metric(self) -> Metric | None:
        if not self.has_dense_model:
            return None
        return self._metric(_DENSE_ROUTES, "dense")

    @property
    def guessing(self) -> float | None:
        """The metric of the best answer that does not look at its input; without labels kept, one class in all."""
        trivial = _number(self.parity.get("trivial"))
        if trivial is not None:
            return trivial
        classes = self.stage("data").get("classes")
        return 1 / len(classes) if isinstance(classes, list) and classes else None

    @property
    def not_learnt(self) -> str | None:
        """Why the metric says nothing: a baseline that does no better than always giving the same answer is none."""
        metric, guessing = self.dense_metric or self.compressed_metric, self.guessing
        if metric is None or guessing is None:
            return None
        if metric.value - 2 * (metric.standard_error or 0.0) > guessing:
            return None
        whose = "the baseline has" if self.dense_metric is not None else "the model has"
        name, (value, floor) = metric.name, (metric_figure(metric.name, v) for v in (metric.value, guessing))
        reached = f"{metric_name(name, self.task)} {value}"
        return (
            f"{whose} not learnt the task: {reached}, where {_trivial_answer(name, self.task)} gives {floor}"
        )

    @property
    def int8_metric(self) -> Metric | None:
        return self._metric(_INT8_ROUTES, None)

    @property
    def float32_metric(self) -> Metric | None:
        """Of the compressed file before its weights were rounded to 8 bits; None where none were."""
        return self._metric(_FLOAT32_ROUTES, None)

    @property
    def rounded(self) -> Mapping[str, Any]:
        """What the parity check says of a file with 8-bit weights, see `export/rounding.py`; empty for others."""
        return _mapping(self.parity.get("rounded"))

    @property
    def worst_difference(self) -> float | None:
        """The largest difference of any route from the pruned model; None where none was measured."""
        return max((float(row["max_abs"]) for row in self.parity.get("rows") or ()), default=None)

    @property
    def int8_tables(self) -> Sequence[str]:
        """Names of the lookup tables of the compressed file that are 8-bit rows."""
        return self._exported("int8_tables")

    @property
    def int8_attention(self) -> Sequence[str]:
        """Names of the operators of the compressed file whose attention multiplies 8-bit numbers."""
        return self._exported("int8_attention")

    def _exported(self, key: str) -> Sequence[str]:
        names = _mapping(self.stage("export").get("compressed")).get(key)
        return names if isinstance(names, list) else ()

    def _metric(self, routes: Sequence[str], stage: str | None) -> Metric | None:
        trained = self.stage(stage) if stage else {}
        for route in routes:
            kept = _mapping(self.parity.get("scores")).get(route)
            if kept is not None:
                scores = Scores.from_dict(kept)
                return Metric(
                    name=scores.metric,
                    value=scores.value,
                    standard_error=scores.standard_error,
                    examples=self.parity.get("examples"),
                    steps=trained.get("steps"),
                    scores=scores,
                )
        value = _number(trained.get("value"))
        if value is None:
            return None
        return Metric(
            name=str(trained.get("metric", "metric")),
            value=value,
            standard_error=_number(trained.get("standard_error")),
            examples=trained.get("examples"),
            steps=trained.get("steps"),
        )


def read_run(folder: str | Path) -> RunData:
    """Read a run folder. plan.json and benchmark.json must be there; the rest may be missing.

    Raises InputError, naming the file, when one cannot be read or is not what its name says.
    """
    folder = Path(folder)
    plan = _read_json(folder / "plan.json")
    if plan is None:
        raise InputError(f"no plan.json in {folder}; run the plan stage first")
    require_kind(plan, "plan", str(folder / "plan.json"), _CURE)
    parity = _read_json(folder / "parity.json")
    if parity is not None:
        require_kind(parity, "parity", str(folder / "parity.json"), _CURE)
    _check_layers(folder, plan)
    bench = read_report(folder / "benchmark.json")
    return RunData(
        folder=folder,
        bench=bench,
        file_problem=_file_problem(folder / "onnx", bench),
        plan=plan,
        parity=parity or {},
        recipe=_read_recipe(folder / "recipe.yaml"),
        state=_read_json(folder / "state.json") or {},
    )


def _check_layers(folder: Path, plan: Mapping[str, Any]) -> None:
    layers = plan.get("layers")
    keys = {"name", "shape", "density", "form", "reason"}
    if not isinstance(layers, list) or any(not keys <= _mapping(layer).keys() for layer in layers):
        raise InputError(f"{folder / 'plan.json'} is not a plan; run the plan stage again")


def _file_problem(onnx: Path, bench: BenchReport) -> str | None:
    """Whether the compressed file that was measured still lies there; its size tells."""
    variant = bench.variants.get("compressed")
    if variant is None or variant.size is None:
        return None
    path = inner(onnx, variant.file)
    if path is None:
        return (
            f"onnx/{variant.file[:80]}, which was measured, is gone; run export and the stages after it again"
        )
    if path.stat().st_size != variant.size.disk_bytes and _stored_bytes(path) != variant.size.disk_bytes:
        return f"onnx/{variant.file} is not the file that was measured; run bench again"
    return None


def _stored_bytes(path: Path) -> int | None:
    """With external data files; None where it is no ONNX model."""
    try:
        return sum(file.stat().st_size for file in model_files(path))
    except Exception:  # protobuf's and onnx's classes have no common base
        return None


def _trivial_answer(metric: str, task: str | None) -> str:
    """What reaches the figure without a look at the input."""
    if metric in ("spearman", "pearson", "similarity_spearman", "matthews"):
        return "any answer that ignores the input"
    if task == "token-classification":
        return "a model that finds no entity"
    if task == "question-answering":
        return 'always answering "no answer"'
    return (
        "always predicting the most frequent class"
        if metric == "accuracy"
        else "the best answer that ignores the input"
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _read_json(path: Path) -> dict[str, Any] | None:
    return read_json(path, _CURE) if path.exists() else None


def _read_recipe(path: Path) -> Mapping[str, Any]:
    return read_yaml(path) if path.exists() else {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
