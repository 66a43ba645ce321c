"""Size and latency of a run's ONNX files against dense and dense int8, in ONNX Runtime.

Every variant gets the same threads, the same inputs and the same rounds. Cold numbers (load, first inference,
memory) come from fresh processes at the first setting; warm ones from one process that calls all variants in turn.
The result's schema is in bench_report.py.
"""

import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError, first_line
from platon_compress.measure.bench_report import (
    VARIANTS,
    BenchReport,
    SettingReport,
    VariantReport,
    VariantSamples,
)
from platon_compress.measure.config import BenchConfig
from platon_compress.measure.environment import describe_environment, usable_cores
from platon_compress.measure.session_probe import ColdStart, probe_session
from platon_compress.measure.sessions import (
    DeviceUnavailableError,
    describe_inputs,
    has_token_axis,
    make_inputs,
    open_on,
    read_config,
    run_once,
)
from platon_compress.measure.size import measure_size
from platon_compress.measure.timing import compare, measure_interleaved
from platon_compress.progress import Progress, Steps

__all__ = ["run_benchmark"]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is measured: variant files, settings, and the model's config.json."""

    paths: Mapping[str, Path]
    sessions: Mapping[str, Any]
    settings: tuple[tuple[int, int | None], ...]
    model_config: Mapping[str, Any]
    config: BenchConfig
    missing: Mapping[str, str] = field(default_factory=dict)

    def feed(self, name: str, batch: int, tokens: int | None) -> dict[str, np.ndarray]:
        inputs = describe_inputs(self.sessions[name])
        return make_inputs(
            inputs, batch=batch, tokens=tokens, seed=self.config.seed, config=self.model_config
        )


def run_benchmark(
    onnx_dir: str | Path, config: BenchConfig | None = None, *, progress: Progress | None = None
) -> BenchReport:
    """Measure `dense.onnx`, its dynamic-int8 version, `pruned.onnx` and `compressed.onnx` in `onnx_dir`.

    `compressed-float32.onnx`, a compressed file's form before its weights were rounded to 8 bits, is measured where it is.
    `compressed.onnx` and one of dense and pruned must be there. `dense-int8.onnx` is made in a temporary folder
    when it is absent. Raises InputError for a missing or broken file and for sizes the model does not take.
    A device that is not really active gives a report whose `unavailable` says so, never another device's times.
    """
    folder, config = Path(onnx_dir), config or BenchConfig()
    # The same explicit number for everybody: left open, each engine would choose its own.
    config = replace(config, threads=config.threads or usable_cores())
    found = _find(folder, config.variants)
    baseline = "dense" if "dense" in found else "pruned"
    environment = describe_environment(threads=config.threads)
    with _int8(found, baseline, config) as (paths, missing):
        try:
            sessions = {n: open_on(p, threads=config.threads, device=config.device) for n, p in paths.items()}
        except DeviceUnavailableError as error:
            variants = {name: _sized(path, found) for name, path in paths.items()}
            return BenchReport(
                environment=environment,
                config=config,
                baseline=baseline,
                variants=variants | _absent(missing),
                settings=(),
                unavailable=str(error),
            )
        work = _Plan(
            paths=paths,
            sessions=sessions,
            settings=_settings(sessions, config),
            model_config=read_config(folder),
            config=config,
            missing=missing,
        )
        settings, variants = _measure(work, baseline, found, progress)
    return BenchReport(
        environment=environment,
        config=config,
        baseline=baseline,
        variants=_ordered(variants | _absent(missing)),
        settings=settings,
    )


def _find(folder: Path, wanted: Collection[str] | None) -> dict[str, Path]:
    found = {
        name: folder / file
        for name, file in VARIANTS.items()
        if (wanted is None or name in wanted) and (folder / file).is_file()
    }
    if "compressed" not in found or not {"dense", "pruned"} & found.keys():
        present = ", ".join(path.name for path in found.values()) or "none of the files"
        raise InputError(
            f"{folder} holds {present}; a benchmark needs compressed.onnx and one of dense.onnx and pruned.onnx"
        )
    return found


@contextmanager
def _int8(
    found: Mapping[str, Path], baseline: str, config: BenchConfig
) -> Iterator[tuple[dict[str, Path], dict[str, str]]]:
    """The files to measure, int8 made where it is absent; and what cannot be measured, with the reason."""
    missing = (
        {} if baseline == "pruned" or "pruned" in found else {"pruned": "the folder holds no pruned.onnx"}
    )
    if baseline == "pruned":
        missing["dense"] = "the folder holds no dense.onnx; the pruned file in dense kernels stands for it"
    if "dense_int8" in found:
        yield _ordered(found), missing
        return
    with tempfile.TemporaryDirectory(prefix="platon-int8-") as folder:
        from platon_compress.export.reading import load_proto

        made = {}
        load_proto(found[baseline])  # a broken file is the caller's error, not a quantiser that failed
        try:
            made["dense_int8"] = _quantize(found[baseline], Path(folder) / VARIANTS["dense_int8"], config)
        except InputError as error:
            missing["dense_int8"] = first_line(error)
        yield _ordered({**found, **made}), missing


def _quantize(dense: Path, target: Path, config: BenchConfig) -> Path:
    """Chosen by closeness to dense on the inputs of the first setting: a folder of files has no labels."""
    from platon_compress.export.int8 import quantize_int8

    inputs = describe_inputs(open_on(dense, threads=config.threads))
    tokens = config.tokens[0] if has_token_axis(inputs) else None
    feed = make_inputs(
        inputs, batch=config.batch[0], tokens=tokens, seed=config.seed, config=read_config(dense.parent)
    )
    quantize_int8(dense, target, [feed])
    return target


def _settings(sessions: Mapping[str, Any], config: BenchConfig) -> tuple[tuple[int, int | None], ...]:
    inputs = describe_inputs(next(iter(sessions.values())))
    tokens: tuple[int | None, ...] = config.tokens if has_token_axis(inputs) else (None,)
    return tuple(product(config.batch, tokens))


def _measure(
    work: _Plan, baseline: str, found: Mapping[str, Path], progress: Progress | None
) -> tuple[tuple[SettingReport, ...], dict[str, VariantReport]]:
    config = work.config
    rounds = (config.warmup + config.runs) * len(work.settings)
    steps = Steps(rounds + (max(config.cold_runs, 1) + 1) * len(work.paths), progress)
    for batch, tokens in work.settings:  # wrong sizes are found before minutes of measuring
        for name, session in work.sessions.items():
            run_once(session, work.feed(name, batch, tokens), work.paths[name].name)
    settings = [_warm_setting(work, batch, tokens, baseline, steps) for batch, tokens in work.settings]
    cold: dict[str, list[ColdStart]] = {name: [] for name in work.paths}
    for run in range(max(config.cold_runs, 1)):
        for name in work.paths:
            # The first process of each variant also tells which operators ran: one more would load the file again.
            cold[name].append(_probe(work, name, count_nodes=run == 0))
            steps.advance("load and memory")
    if work.config.cold_runs:
        settings[0] = replace(
            settings[0], samples={n: _with_start(s, cold[n]) for n, s in settings[0].samples.items()}
        )
    variants = {}
    for name in work.paths:
        variants[name] = _variant(work, name, found, cold[name][0].executed_nodes)
        steps.advance(f"size of {name}")
    return tuple(settings), variants


def _warm_setting(work: _Plan, batch: int, tokens: int | None, baseline: str, steps: Steps) -> SettingReport:
    setting = SettingReport(batch=batch, tokens=tokens, samples={}, ratios=())
    after = steps.done + work.config.warmup + work.config.runs
    warm = _warm(work, batch, tokens, lambda: steps.advance(f"latency, {setting.label}"))
    steps.done = after  # also the rounds that the time limit left out
    return replace(
        setting,
        samples={name: VariantSamples(warm_seconds=warm[name]) for name in work.paths},
        ratios=tuple(compare(warm, baseline=a, candidate=b) for a, b in _pairs(baseline, warm)),
    )


def _warm(
    work: _Plan, batch: int, tokens: int | None, on_round: Callable[[], None]
) -> dict[str, tuple[float, ...]]:
    sides = {
        name: partial(session.run, None, work.feed(name, batch, tokens))
        for name, session in work.sessions.items()
    }
    seconds = work.config.round_seconds
    limit = None if seconds is None else seconds * work.config.runs
    return measure_interleaved(
        sides,
        runs=work.config.runs,
        warmup=work.config.warmup,
        pause_seconds=work.config.pause_seconds,
        limit_seconds=limit,
        on_round=lambda done, total: on_round(),
    )


def _probe(work: _Plan, name: str, *, count_nodes: bool = False) -> ColdStart:
    batch, tokens = work.settings[0]
    return probe_session(
        work.paths[name],
        batch=batch,
        tokens=tokens,
        threads=work.config.threads,
        device=work.config.device,
        count_nodes=count_nodes,
    )


def _with_start(samples: VariantSamples, cold: list[ColdStart]) -> VariantSamples:
    return replace(
        samples,
        load_seconds=tuple(start.load_seconds for start in cold),
        first_seconds=tuple(start.first_seconds for start in cold),
        session_bytes=tuple(start.session_bytes for start in cold),
        peak_bytes=tuple(start.peak_bytes for start in cold),
    )


def _pairs(baseline: str, measured: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(baseline, candidate): everything against the baseline, and compressed against everything."""
    pairs = [(baseline, name) for name in measured if name != baseline]
    return pairs + [(n, "compressed") for n in measured if n not in {baseline, "compressed"}]


def _variant(
    work: _Plan, name: str, found: Mapping[str, Path], nodes: Mapping[str, Mapping[str, int]]
) -> VariantReport:
    from platon_compress.export.reading import load_proto

    model = load_proto(work.paths[name])
    ours = {node.op_type for node in model.graph.node if node.domain == "platon"}
    # One operator that the library lacks is a layer at dense speed, whatever its neighbours do.
    ran = ours <= {operator for counts in nodes.values() for operator in counts}
    return replace(
        _sized(work.paths[name], found, model),
        native_kernel=ran if ours else None,
        executed_nodes=nodes,
        inputs=describe_inputs(work.sessions[name]),
    )


def _sized(path: Path, found: Mapping[str, Path], model: Any = None) -> VariantReport:
    from platon_compress.export.int8 import read_int8_choice

    choice = read_int8_choice(path) if path.name == VARIANTS["dense_int8"] else None
    return VariantReport(
        file=path.name,
        made_here=path not in found.values(),
        size=measure_size(path, model),
        quantisation=None if choice is None else choice.to_dict(),
    )


def _absent(missing: Mapping[str, str]) -> dict[str, VariantReport]:
    return {name: VariantReport(file=VARIANTS[name], unavailable=reason) for name, reason in missing.items()}


def _ordered(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {name: entries[name] for name in VARIANTS if name in entries}
