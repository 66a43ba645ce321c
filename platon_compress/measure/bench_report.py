"""The result of a model benchmark, as data.

JSON of `benchmark.json` (kind "benchmark"). Units are in the names; every raw sample is kept, in the order it
was taken, so that any statistic can be computed again.

    kind, schema    see platon_compress/schemas.py
    environment     see environment.py
    config          see config.py
    unavailable     null, or why nothing was measured (for example: no CUDA provider)
    baseline        "dense", or "pruned" where the folder holds no dense.onnx (same kernels, same speed)
    variants        name -> {file, made_here, unavailable, size, native_kernel, executed_nodes, inputs, quantisation}
                    size: see size.py; native_kernel: true/false = sparse linears ran in our
                    kernel / were replaced by dense operators, null = the file holds none;
                    quantisation: the int8 settings tried and the one taken, see export/int8.py; null elsewhere;
                    executed_nodes: provider -> operator -> count, from ONNX Runtime's profile of one run
    settings        list of {batch, tokens, samples, ratios}; tokens is null for inputs of fixed size
      samples       name -> {load_seconds: [...], first_seconds: [...], session_bytes: [...], peak_bytes: [...],
                    warm_seconds: [...], p50_seconds, p90_seconds, p95_seconds, p99_seconds}
                    load, first and memory: one value per fresh process; warm: interleaved with all other
                    variants, sample i of each belongs to round i
      ratios        list of {baseline, candidate, pairs, median, quartile_low, quartile_high, low, high,
                    statement}: baseline time / candidate time, see timing.py

Variant names: dense (trained with the same steps, not pruned), dense_int8 (dense after ONNX Runtime's dynamic
quantisation: the cheap alternative), pruned (zeros in dense kernels), compressed, and where that holds 8-bit weights
compressed_float32 (the same graph before they were rounded).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platon_compress.errors import MISFITS, InputError
from platon_compress.files import read_json
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.size import ModelSize
from platon_compress.measure.timing import PairedRatio, percentiles
from platon_compress.schemas import require_kind, stamped

__all__ = ["VARIANTS", "BenchReport", "SettingReport", "VariantReport", "VariantSamples", "read_report"]

VARIANTS = {
    "dense": "dense.onnx",
    "dense_int8": "dense-int8.onnx",
    "pruned": "pruned.onnx",
    "compressed_float32": "compressed-float32.onnx",
    "compressed": "compressed.onnx",
}
"""Variant name to file name, in the order they are timed and shown."""


@dataclass(frozen=True, kw_only=True)
class VariantReport:
    """One model file; see the schema above. `unavailable` says why it was not measured."""

    file: str
    made_here: bool = False
    unavailable: str | None = None
    size: ModelSize | None = None
    native_kernel: bool | None = None
    executed_nodes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    inputs: tuple[Mapping[str, Any], ...] = ()
    quantisation: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"inputs": [dict(entry) for entry in self.inputs]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "VariantReport":
        size = ModelSize.from_dict(data["size"]) if data.get("size") else None
        return cls(**{**data, "size": size, "inputs": tuple(data.get("inputs", ()))})


@dataclass(frozen=True, kw_only=True)
class VariantSamples:
    """Raw samples of one variant in one setting."""

    warm_seconds: tuple[float, ...]
    load_seconds: tuple[float, ...] = ()
    first_seconds: tuple[float, ...] = ()
    session_bytes: tuple[int | None, ...] = ()
    peak_bytes: tuple[int | None, ...] = ()

    @property
    def median_seconds(self) -> float:
        return percentiles(self.warm_seconds)["p50_seconds"]

    def to_dict(self) -> dict[str, Any]:
        raw = {name: list(values) for name, values in asdict(self).items()}
        return raw | percentiles(self.warm_seconds)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "VariantSamples":
        names = ("warm_seconds", "load_seconds", "first_seconds", "session_bytes", "peak_bytes")
        return cls(**{name: tuple(data.get(name, ())) for name in names})


@dataclass(frozen=True, kw_only=True)
class SettingReport:
    """All variants at one batch size and number of tokens."""

    batch: int
    tokens: int | None
    samples: Mapping[str, VariantSamples]
    ratios: tuple[PairedRatio, ...]

    @property
    def label(self) -> str:
        return f"batch {self.batch}" + (f", {self.tokens} tokens" if self.tokens else "")

    def ratio(self, candidate: str, baseline: str) -> PairedRatio | None:
        """The measured ratio of two variants; None when one of them was not measured."""
        found = (r for r in self.ratios if (r.candidate, r.baseline) == (candidate, baseline))
        return next(found, None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "batch": self.batch,
            "tokens": self.tokens,
            "samples": {name: samples.to_dict() for name, samples in self.samples.items()},
            "ratios": [ratio.to_dict() for ratio in self.ratios],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SettingReport":
        return cls(
            batch=data["batch"],
            tokens=data["tokens"],
            samples={name: VariantSamples.from_dict(entry) for name, entry in data["samples"].items()},
            ratios=tuple(PairedRatio.from_dict(entry) for entry in data["ratios"]),
        )


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """See the schema at the top of this module."""

    environment: Mapping[str, Any]
    config: BenchConfig
    baseline: str
    variants: Mapping[str, VariantReport]
    settings: tuple[SettingReport, ...]
    unavailable: str | None = None

    def to_dict(self) -> dict[str, Any]:
        content = {
            "environment": dict(self.environment),
            "config": self.config.to_dict(),
            "unavailable": self.unavailable,
            "baseline": self.baseline,
            "variants": {name: variant.to_dict() for name, variant in self.variants.items()},
            "settings": [setting.to_dict() for setting in self.settings],
        }
        return stamped("benchmark", content)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "BenchReport":
        """Raises InputError for another schema or a file that is not a benchmark."""
        require_kind(data, "benchmark", "the benchmark", "measure again")
        try:
            return cls(
                environment=dict(data["environment"]),
                config=BenchConfig.from_dict(data["config"]),
                baseline=data["baseline"],
                variants={name: VariantReport.from_dict(v) for name, v in data["variants"].items()},
                settings=tuple(SettingReport.from_dict(entry) for entry in data["settings"]),
                unavailable=data["unavailable"],
            )
        except MISFITS as error:
            raise InputError(f"not a benchmark result ({error!r} is wrong); measure again") from error


def read_report(path: str | Path) -> BenchReport:
    """The BenchReport in a JSON file. Raises InputError when it is missing or not one."""
    if not Path(path).is_file():
        raise InputError(f"no benchmark at {path}; run the bench stage first")
    return BenchReport.from_dict(read_json(Path(path), "run the bench stage again"))
