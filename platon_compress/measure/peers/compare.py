"""Our model against other engines and other forms of itself, each in its own process, measured three ways.

The ways differ, so all three are taken: interleaved (one inference each in turn: fair under drifting load),
isolated blocks in fresh processes (what one service alone sees), and several concurrent workers of one thread
(what a loaded server sees, where memory bandwidth is shared). Schema: result.py.
"""

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError, first_line
from platon_compress.measure.environment import describe_environment, usable_cores
from platon_compress.measure.peers.judged import JUDGED_KINDS, JudgedRows, judge
from platon_compress.measure.peers.process import Engine, EngineFailedError, EngineProcess
from platon_compress.measure.peers.result import (
    EVERY_SECOND_LAYER,
    Comparison,
    PeerConfig,
    PeerReport,
    PeerSetting,
    compare_ways,
)
from platon_compress.measure.peers.worker import write_batches
from platon_compress.measure.sessions import (
    describe_inputs,
    has_token_axis,
    make_inputs,
    open_on,
    read_config,
)
from platon_compress.measure.size import model_files
from platon_compress.progress import Progress
from platon_compress.scoring import Scores

__all__ = [
    "BASELINE",
    "INT8",
    "OPENVINO",
    "OPENVINO_INT8",
    "OURS",
    "OURS_FLOAT32",
    "OURS_INT8",
    "SMALLER",
    "SMALLER_FILES",
    "SMALLER_INT8",
    "find_engines",
    "run_peer_benchmark",
]

BASELINE, OURS = "ONNX Runtime dense", "ONNX Runtime compressed"
INT8, OURS_INT8 = "ONNX Runtime dense int8", "ONNX Runtime compressed int8"
OURS_FLOAT32 = "ONNX Runtime compressed float32"
OPENVINO, OPENVINO_INT8 = "OpenVINO dense", "OpenVINO int8"
SMALLER, SMALLER_INT8 = "ONNX Runtime every second layer", "ONNX Runtime every second layer int8"
SMALLER_FILES = {
    SMALLER: f"stages/{EVERY_SECOND_LAYER}/model.onnx",
    SMALLER_INT8: f"stages/{EVERY_SECOND_LAYER}/model-int8.onnx",
}
"""Where they lie in the folder of a run that has trained them."""
_BESIDE = {OURS_INT8: "compressed-int8.onnx", OURS_FLOAT32: "compressed-float32.onnx"}
_PEERS = (
    ("PyTorch dense", "torch", "dense.onnx"),
    (OPENVINO, "openvino", "dense.onnx"),
    (OPENVINO_INT8, "openvino-int8", "dense.onnx"),
    ("DeepSparse pruned", "deepsparse", "pruned.onnx"),
)
# What an engine needs, and the environment of its own in which it may be: .venv-NAME in the current folder.
_MODULES = {
    "torch": "transformers",
    "openvino": "openvino",
    "openvino-int8": "nncf",
    "deepsparse": "deepsparse",
}
_HOMES = {"openvino-int8": "openvino"}


@dataclass(kw_only=True)
class _Work:
    """The engines still taking part; one that fails leaves with its reason."""

    engines: dict[str, Engine]
    unavailable: dict[str, str]
    config: PeerConfig
    threads: int
    progress: Progress | None
    total: int = 1
    done: int = 0
    described: dict[str, Any] = field(default_factory=dict)

    @contextmanager
    def attempt(self, name: str) -> Iterator[None]:
        """A peer that fails leaves with its reason; without our own two engines there is no comparison."""
        try:
            yield
        except EngineFailedError as error:
            if name in {BASELINE, OURS}:
                raise InputError(str(error)) from error
            self.engines.pop(name, None)
            self.unavailable[name] = str(error)

    def step(self, label: str) -> None:
        self.done = min(self.done + 1, self.total)
        if self.progress is not None:
            self.progress(self.done, self.total, label)


def run_peer_benchmark(
    onnx_dir: str | Path,
    config: PeerConfig | None = None,
    *,
    rows: JudgedRows | None = None,
    others: Mapping[str, Path] | None = None,
    progress: Progress | None = None,
) -> PeerReport:
    """Measure `dense.onnx`, its int8 version, `compressed.onnx` and its other forms in ONNX Runtime, and peers.

    rows: what OpenVINO's int8 takes its ranges from, and where they can be scored, what the metric of every peer that
    computes is taken on. others: files by name that run in ONNX Runtime beside them. A peer that is not installed, or
    fails, is a line in `unavailable`. Raises InputError when dense.onnx or compressed.onnx is missing or does not run.
    """
    folder, config = Path(onnx_dir), config or PeerConfig()
    with tempfile.TemporaryDirectory(prefix="platon-peers-") as scratch:
        engines, unavailable = find_engines(folder, Path(scratch), config)
        for name, model in (others or {}).items():
            engines[name] = Engine(name=name, kind="onnxruntime", model=model)
        engines = _with_ranges(engines, rows, Path(scratch))
        inputs = describe_inputs(open_on(engines[OURS].model, threads=1))
        tokens: tuple[int | None, ...] = config.tokens if has_token_axis(inputs) else (None,)
        settings = list(product(config.batch, tokens))
        work = _Work(
            engines=engines,
            unavailable=unavailable,
            config=config,
            threads=config.threads or usable_cores(),
            progress=progress,
            total=len(settings) * len(engines) * (2 * config.blocks + 1),
        )
        environment = describe_environment(threads=work.threads)
        scores = _scores(work, rows, [*(peer[0] for peer in _PEERS), *(others or {})], Path(scratch))
        measured = []
        for batch, count in settings:
            feed = Path(scratch) / f"feed-{batch}-{count}.npz"
            arrays = make_inputs(
                inputs, batch=batch, tokens=count, seed=config.seed, config=read_config(folder)
            )
            np.savez(feed, **arrays)  # type: ignore[arg-type]
            measured.append(_measure_setting(work, feed, batch, count))
        for name in scores:
            if name in work.described:
                work.described[name]["disk_bytes"] = _disk_bytes(work.engines[name])
    return PeerReport(
        environment=environment,
        compressed_bytes=(folder / "compressed.onnx").stat().st_size,
        config=replace(config, threads=work.threads),
        engines=work.described,
        unavailable=work.unavailable,
        settings=tuple(measured),
        scores={name: score for name, score in scores.items() if name in work.engines},
    )


def _with_ranges(engines: Mapping[str, Engine], rows: JudgedRows | None, scratch: Path) -> dict[str, Engine]:
    """Engines of 8 bits with real rows to take their ranges from; all their processes then run one model."""
    if rows is None or not rows.calibration:
        return dict(engines)
    saved = scratch / "calibration.npz"
    write_batches(str(saved), rows.calibration)
    return {
        name: replace(engine, calibration=saved, prepared=scratch / "openvino-int8.xml")
        if engine.kind == "openvino-int8"
        else engine
        for name, engine in engines.items()
    }


def _scores(work: _Work, rows: JudgedRows | None, names: Sequence[str], scratch: Path) -> dict[str, Scores]:
    """Of those of `names` that are measured and can answer; our own files have their metric from `verify`."""
    if rows is None or rows.evaluation.score is None:
        return {}
    judged = [n for n in names if n in work.engines and work.engines[n].kind in JUDGED_KINDS]
    work.total += len(judged) * rows.parts
    found = {}
    for name in judged:
        with work.attempt(name):
            found[name] = judge(work.engines[name], rows, scratch, threads=work.threads, step=work.step)
    return found


def _disk_bytes(engine: Engine) -> int:
    """Of what was run: OpenVINO's own file where it made one."""
    if engine.prepared is not None:
        return sum(engine.prepared.with_suffix(kind).stat().st_size for kind in (".xml", ".bin"))
    return sum(path.stat().st_size for path in model_files(engine.model))


def find_engines(folder: Path, scratch: Path, config: PeerConfig) -> tuple[dict[str, Engine], dict[str, str]]:
    """(engines to measure, reasons for those that cannot be). int8 is made in `scratch` when it is absent."""
    for file in ("dense.onnx", "compressed.onnx"):
        if not (folder / file).is_file():
            raise InputError(f"{folder} holds no {file}; a comparison of engines needs dense and compressed")
    engines, unavailable = {}, {}
    files = {BASELINE: folder / "dense.onnx", OURS: folder / "compressed.onnx"}
    try:
        files[INT8] = _int8_file(folder, scratch, config)
    except InputError as error:
        unavailable[INT8] = f"{INT8} not measured: {first_line(error)}"
    files |= {name: folder / file for name, file in _BESIDE.items() if (folder / file).is_file()}
    for name, model in files.items():
        engines[name] = Engine(name=name, kind="onnxruntime", model=model)
    for name, kind, file in (peer for peer in _PEERS if peer[1] in config.peers):
        python = _python_with(kind, config.pythons)
        if python is None:
            unavailable[name] = (
                f"{name} not measured: {_MODULES[kind]} is not installed here nor in ./.venv-{_HOMES.get(kind, kind)}"
            )
        elif not (folder / file).is_file():
            unavailable[name] = f"{name} not measured: the folder holds no {file}"
        else:
            engines[name] = Engine(name=name, kind=kind, model=folder / file, python=python)
    return engines, unavailable


def _int8_file(folder: Path, scratch: Path, config: PeerConfig) -> Path:
    from platon_compress.export.int8 import quantize_int8

    if (folder / "dense-int8.onnx").is_file():
        return folder / "dense-int8.onnx"
    inputs = describe_inputs(open_on(folder / "dense.onnx"))
    tokens = config.tokens[0] if has_token_axis(inputs) else None
    feed = make_inputs(inputs, batch=config.batch[0], tokens=tokens, config=read_config(folder))
    quantize_int8(folder / "dense.onnx", scratch / "dense-int8.onnx", [feed])
    return scratch / "dense-int8.onnx"


def _python_with(kind: str, pythons: Mapping[str, str]) -> Path | None:
    """The given interpreter, this one, or that of an environment of its own in the current folder."""
    if kind in pythons:
        return Path(pythons[kind])
    if importlib.util.find_spec(_MODULES[kind]) is not None:
        return Path(sys.executable)
    own = Path.cwd() / f".venv-{_HOMES.get(kind, kind)}" / "bin" / "python"
    return own if own.is_file() else None


def _measure_setting(work: _Work, feed: Path, batch: int, tokens: int | None) -> PeerSetting:
    interleaved, memory = _interleaved(work, feed)
    isolated = _isolated(work, feed)
    concurrent = _concurrent(work, feed)
    names = [n for n in work.engines if n in interleaved and n in isolated and n in concurrent]
    return PeerSetting(
        batch=batch,
        tokens=tokens,
        interleaved=interleaved,
        isolated=isolated,
        concurrent=concurrent,
        memory=memory,
        comparisons=tuple(
            _compare(pair, interleaved, isolated, concurrent)
            for pair in _pairs(names)
            if set(pair) <= set(names)
        ),
    )


def _compare(pair: tuple[str, str], *ways: Mapping[str, Any]) -> Comparison:
    interleaved, isolated, concurrent = ways
    return compare_ways(pair[0], pair[1], interleaved, isolated, concurrent)


def _pairs(names: Sequence[str]) -> list[tuple[str, str]]:
    """(baseline, candidate): everything against dense ONNX Runtime, and ours against everything else."""
    ours = [own for own in (OURS, *_BESIDE) if own in names]
    rivals = [name for name in names if name not in {BASELINE, *ours}]
    against_dense = ((BASELINE, name) for name in names if name != BASELINE)
    return [*against_dense, *product(rivals, ours), *pairwise(ours)]


def _interleaved(work: _Work, feed: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    config = work.config
    seconds: dict[str, list[float]] = {name: [] for name in work.engines}
    memory: dict[str, Any] = {}
    with ExitStack() as stack:
        processes = _start_all(work, feed, stack)
        for index in range(config.warmup + config.runs):
            for name in list(work.engines):
                with work.attempt(name):
                    taken = processes[name].run(1, config.pause_seconds)
                    seconds[name] += taken if index >= config.warmup else []
        for name in list(work.engines):
            with work.attempt(name):
                memory[name] = processes[name].memory()
    for _ in seconds:
        work.step("interleaved")
    return {name: {"seconds": seconds[name]} for name in work.engines}, memory


def _start_all(work: _Work, feed: Path, stack: ExitStack) -> dict[str, EngineProcess]:
    processes = {}
    for name, engine in list(work.engines.items()):
        with work.attempt(name):
            process = stack.enter_context(EngineProcess(engine, feed, threads=work.threads))
            version = process.started["version"]
            work.described[name] = {"kind": engine.kind, "model": engine.model.name, "version": version}
            processes[name] = process
    return processes


def _isolated(work: _Work, feed: Path) -> dict[str, Any]:
    return _in_blocks(work, "isolated", lambda engine: _isolated_block(engine, feed, work))


def _isolated_block(engine: Engine, feed: Path, work: _Work) -> dict[str, Any]:
    config = work.config
    with EngineProcess(engine, feed, threads=work.threads) as process:
        process.run(config.warmup, config.pause_seconds)
        seconds = process.run(config.runs, config.pause_seconds)
        start = {key: process.started[key] for key in ("load_seconds", "first_seconds")}
    return {**start, "seconds": seconds}


def _concurrent(work: _Work, feed: Path) -> dict[str, Any]:
    return _in_blocks(work, "concurrent", lambda engine: _concurrent_block(engine, feed, work.config))


def _in_blocks(work: _Work, way: str, measure: Callable[[Engine], dict[str, Any]]) -> dict[str, Any]:
    """One block per engine and turn; an engine that fails in any block has none."""
    blocks: dict[str, list[dict[str, Any]]] = {name: [] for name in work.engines}
    for turn in range(work.config.blocks):
        for name in _rotated(list(work.engines), turn):
            with work.attempt(name):
                blocks[name].append(measure(work.engines[name]))
            work.step(f"{way}, {name}")
    return {name: {"blocks": entries} for name, entries in blocks.items() if name in work.engines}


def _concurrent_block(engine: Engine, feed: Path, config: PeerConfig) -> dict[str, Any]:
    """`workers` processes of one thread at once. Throughput is the sum of what each did per second."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(EngineProcess(engine, feed, threads=1)) for _ in range(config.workers)
        ]
        for process in processes:
            process.send({"do": "run_for", "for_seconds": config.worker_seconds})
        seconds = [process.receive()["seconds"] for process in processes]
        memory = [process.memory() for process in processes]
    used = [entry.get("pss_bytes", entry.get("rss_bytes")) for entry in memory]
    return {
        "per_second": sum(len(taken) / sum(taken) for taken in seconds if taken),
        "seconds": seconds,
        "workers_bytes": None if None in used else sum(used),
    }


def _rotated(names: list[str], turn: int) -> list[str]:
    """Another engine goes first each time, so that none always meets the coldest machine."""
    shift = turn % len(names)
    return names[shift:] + names[:shift]
