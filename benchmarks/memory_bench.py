"""Memory and load time of whole processes: one that serves a model, and several side by side.

    python -P -m platon_compress.benchmarks.memory_bench BASELINE CANDIDATE... [--workers 4] [--tokens 128] [--json]

Everything is read from outside (/proc), for whole processes, Python and ONNX Runtime included: peak = the highest
resident memory since the process began; workers = the sum of proportional sets (shared pages counted once) while all
of them are loaded and have run once. Linux only.
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
from typing import IO

from platon_compress.benchmarks.sessions import describe_inputs, make_inputs, open_on, read_config
from platon_compress.errors import InputError, PlatonError

__all__ = ["ProcessMemory", "main", "measure_memory", "status_bytes"]


@dataclass(frozen=True, kw_only=True)
class ProcessMemory:
    """One file. load_seconds: median over all processes started alone, `repeats` of them."""

    path: str
    peak_bytes: int
    resident_bytes: int
    workers: int
    workers_bytes: int
    load_seconds: float


def measure_memory(
    path: str | Path,
    *,
    batch: int = 1,
    tokens: int = 128,
    threads: int | None = 1,
    workers: int = 4,
    repeats: int = 3,
) -> ProcessMemory:
    """Start `repeats` processes one after the other, then `workers` at once. Raises InputError when one fails."""
    if workers < 1 or repeats < 1:
        raise InputError(f"workers and repeats must be >= 1, got {workers} and {repeats}")
    request = json.dumps(
        {"path": str(Path(path).resolve()), "batch": batch, "tokens": tokens, "threads": threads}
    )
    loads, peaks, residents = [], [], []
    for _ in range(repeats):
        with _processes(1, request) as (alone,):
            loads.append(alone.load_seconds)
            peaks.append(status_bytes(alone.pid, "VmHWM"))
            residents.append(status_bytes(alone.pid, "VmRSS"))
    with _processes(workers, request) as together:
        workers_bytes = sum(_proportional_bytes(process.pid) for process in together)
    return ProcessMemory(
        path=str(path),
        peak_bytes=int(statistics.median(peaks)),
        resident_bytes=int(statistics.median(residents)),
        workers=workers,
        workers_bytes=workers_bytes,
        load_seconds=statistics.median(loads),
    )


@dataclass(frozen=True)
class _Loaded:
    pid: int
    load_seconds: float


@contextlib.contextmanager
def _processes(count: int, request: str) -> Iterator[list[_Loaded]]:
    """`count` processes that have loaded the model and run it once; they end with the context."""
    command = [sys.executable, "-P", "-m", "platon_compress.benchmarks.memory_bench", "--serve", request]
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


def _serve(request: str) -> None:
    """Child: load, run once, say so, wait until the parent closes the pipe."""
    import time

    import platon_compress.export.session  # noqa: F401  # imports are not the model's load time

    settings = json.loads(request)
    path = Path(settings["path"])
    start = time.perf_counter()
    session = open_on(path, threads=settings["threads"])
    load_seconds = time.perf_counter() - start
    feed = make_inputs(
        describe_inputs(session),
        batch=settings["batch"],
        tokens=settings["tokens"],
        config=read_config(path.parent),
    )
    session.run(None, feed)
    sys.stdout.write(f"{load_seconds}\n")
    sys.stdout.flush()
    sys.stdin.read()


def _lines(results: Sequence[ProcessMemory]) -> Iterator[str]:
    base = results[0]
    for result in results:
        yield (
            f"{os.path.basename(result.path)}: peak {result.peak_bytes / 1e6:.0f} MB "
            f"({result.peak_bytes / base.peak_bytes:.2f}), resident {result.resident_bytes / 1e6:.0f} MB "
            f"({result.resident_bytes / base.resident_bytes:.2f}), {result.workers} workers "
            f"{result.workers_bytes / 1e6:.0f} MB ({result.workers_bytes / base.workers_bytes:.2f}), "
            f"load {result.load_seconds:.2f} s ({result.load_seconds / base.load_seconds:.2f})"
        )


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = argparse.ArgumentParser(prog="memory_bench")
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    if options.serve is not None:
        _serve(options.serve)
        return 0
    sizes = {key: getattr(options, key) for key in ("workers", "batch", "tokens", "threads")}
    try:
        results = [measure_memory(path, **sizes) for path in options.files]
    except PlatonError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    text = json.dumps([asdict(r) for r in results], indent=1) if options.json else "\n".join(_lines(results))
    sys.stdout.write(f"{text}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
