"""Memory and load time of whole processes: one that serves a model, and several side by side.

    python benchmarks/memory.py
    python benchmarks/memory.py DENSE.onnx COMPRESSED.onnx... --title "My model" --sparsity 0.9 --name memory-mine

Without files: BERT-base with random masks, of the study targets.py, dense and 90 % sparse.
Everything is read from outside (/proc), for whole processes, Python and ONNX Runtime included: peak = the highest
resident memory since the process began; workers = the sum of proportional sets (shared pages counted once) while all
of them are loaded and have run once. Files take turns, round by round, so that load times are paired. Linux only.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from study import MODELS, add_output, keep, run_study, study_parser, watched
from targets import export_random, random_stem, target_named

from platon_compress.errors import InputError
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

__all__ = ["KIND", "MemoryConfig", "ProcessMemory", "main", "measure_memory", "memory_report", "status_bytes"]

KIND = "memory"
_CHILD = Path(__file__).parent / "parts" / "serve.py"


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """repeats: processes started alone, per file; worker_repeats: groups of `workers` processes, per file."""

    batch: int = 1
    tokens: int = 128
    threads: int | None = 1
    workers: int = 4
    repeats: int = 7
    worker_repeats: int = 3

    def __post_init__(self) -> None:
        """Refuse what measures nothing."""
        for name in ("workers", "repeats", "worker_repeats"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{name} must be >= 1, got {getattr(self, name)}; leave it out for the default"
                )


@dataclass(frozen=True, kw_only=True)
class ProcessMemory:
    """One file, raw samples in bytes and seconds, one per round; index i of every file belongs to one round."""

    path: str
    peak_bytes: tuple[int, ...]
    resident_bytes: tuple[int, ...]
    load_seconds: tuple[float, ...]
    workers_bytes: tuple[int, ...]

    def medians(self) -> dict[str, float]:
        """Field name to median."""
        return {name: statistics.median(getattr(self, name)) for name in _SAMPLED}


_SAMPLED = ("peak_bytes", "resident_bytes", "load_seconds", "workers_bytes")


def measure_memory(
    paths: Sequence[str | Path], config: MemoryConfig | None = None, progress: Progress = silent
) -> tuple[ProcessMemory, ...]:
    """Start every file's process in turn, `repeats` times, then groups of workers. InputError when one fails."""
    config = config or MemoryConfig()
    samples: list[dict[str, list[Any]]] = [{name: [] for name in _SAMPLED} for _ in paths]
    rounds = [(1, _sample_alone)] * config.repeats + [
        (config.workers, _sample_workers)
    ] * config.worker_repeats
    for done, (count, sample) in enumerate(rounds):
        progress(done, len(rounds), f"{count} at once")
        for path, kept in zip(paths, samples, strict=True):
            with _processes(count, _request(path, config)) as loaded:
                for name, value in sample(loaded):
                    kept[name].append(value)
    return tuple(
        ProcessMemory(path=str(path), **{name: tuple(values) for name, values in kept.items()})
        for path, kept in zip(paths, samples, strict=True)
    )


def memory_report(results: Sequence[ProcessMemory], config: MemoryConfig) -> dict[str, Any]:
    """JSON-able: raw samples and medians, each file's medians over the first file's, load time in pairs."""
    base, *others = results
    loads = {result.path: result.load_seconds for result in results}
    content = {
        "config": asdict(config),
        "environment": describe_environment(threads=config.threads),
        "files": [
            {**asdict(result), "path": Path(result.path).name, "medians": result.medians()}
            for result in results
        ],
        "shares": [_shares(base, result) for result in others],
        "load_ratios": [
            compare(loads, baseline=base.path, candidate=result.path).to_dict()
            | {"baseline": Path(base.path).name, "candidate": Path(result.path).name}
            for result in others
        ],
    }
    return stamped(KIND, content)


def _shares(base: ProcessMemory, result: ProcessMemory) -> dict[str, float]:
    whole = base.medians()
    return {name: value / whole[name] for name, value in result.medians().items()}


def _request(path: str | Path, config: MemoryConfig) -> str:
    sizes = {"batch": config.batch, "tokens": config.tokens, "threads": config.threads}
    return json.dumps({"path": str(Path(path).resolve()), **sizes})


def _sample_alone(loaded: Sequence["_Loaded"]) -> Iterator[tuple[str, float]]:
    (alone,) = loaded
    yield "load_seconds", alone.load_seconds
    yield "peak_bytes", status_bytes(alone.pid, "VmHWM")
    yield "resident_bytes", status_bytes(alone.pid, "VmRSS")


def _sample_workers(loaded: Sequence["_Loaded"]) -> Iterator[tuple[str, float]]:
    yield "workers_bytes", sum(_proportional_bytes(process.pid) for process in loaded)


@dataclass(frozen=True)
class _Loaded:
    pid: int
    load_seconds: float


@contextlib.contextmanager
def _processes(count: int, request: str) -> Iterator[list[_Loaded]]:
    """`count` processes that have loaded the model and run it once; they end with the context."""
    command = [sys.executable, str(_CHILD), request]
    children: list[subprocess.Popen[str]] = []
    try:
        for _ in range(count):
            children.append(
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
                )
            )
        yield [_Loaded(child.pid, _ready(child)) for child in children]
    finally:
        for child in children:
            with contextlib.suppress(BrokenPipeError):
                child.communicate()


def _ready(child: subprocess.Popen[str]) -> float:
    """The load time that a child reports once it is ready."""
    line = _stream(child.stdout).readline()
    if not line:
        lines = _stream(child.stderr).read().strip().splitlines() or [f"exit status {child.wait()}"]
        raise InputError(f"a fresh process could not load and run the model ({lines[-1][:300]})")
    return float(line)


def _stream(stream: IO[str] | None) -> IO[str]:
    if stream is None:
        raise TypeError("the child was started without this stream")
    return stream


def status_bytes(pid: int, key: str) -> int:
    """A line of /proc/PID/status in bytes, for example "VmHWM", the peak. InputError where there is no /proc."""
    return _kilobytes(Path(f"/proc/{pid}/status"), key)


def _proportional_bytes(pid: int) -> int:
    return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss")


def _kilobytes(path: Path, key: str) -> int:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"memory is read from {path}, which this system does not have") from error
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def _lines(results: Sequence[ProcessMemory], workers: int) -> Iterator[str]:
    for result in results:
        found, share = result.medians(), _shares(results[0], result)
        yield (
            f"{os.path.basename(result.path)}: peak {found['peak_bytes'] / 1e6:.0f} MB "
            f"({share['peak_bytes']:.2f}), resident {found['resident_bytes'] / 1e6:.0f} MB "
            f"({share['resident_bytes']:.2f}), {workers} workers {found['workers_bytes'] / 1e6:.0f} MB "
            f"({share['workers_bytes']:.2f}), load {found['load_seconds']:.2f} s ({share['load_seconds']:.2f})"
        )


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    parser.set_defaults(threads=MemoryConfig().threads)
    add_output(parser, None)
    parser.add_argument("files", nargs="*", type=Path, help="the dense .onnx file, then others")
    for name, default in asdict(MemoryConfig()).items():
        if name != "threads":
            parser.add_argument(
                f"--{name.replace('_', '-')}", type=int, default=default, help=f"default {default}"
            )
    parser.add_argument("--name", default=None, help="the result file's stem")
    parser.add_argument("--title", default="", help="what the model is called in the table")
    parser.add_argument("--sparsity", type=float, default=None)
    return run_study(_measured, parser, arguments)


def _measured(options: argparse.Namespace) -> Iterator[str]:
    """Measure, say it, save it."""
    config = MemoryConfig(**{name: getattr(options, name) for name in asdict(MemoryConfig())})
    files, title, sparsity, name = options.files, options.title, options.sparsity, options.name or KIND
    if not files:
        stem, target, sparsity = random_stem("bert-base", 0.9), target_named("bert-base"), 0.9
        folder = export_random(target, sparsity, MODELS / stem)
        files, title, name = (
            [folder / "dense.onnx", folder / "compressed.onnx"],
            target.title,
            f"{KIND}-{stem}",
        )
    with watched("memory") as progress:
        results = measure_memory(files, config, progress)
    yield from _lines(results, config.workers)
    yield keep(options, memory_report(results, config), title=title, sparsity=sparsity, name=name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
