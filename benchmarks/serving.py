"""A service under load: requests a second and how long they take, while several clients ask at once.

    python benchmarks/serving.py runs/mine runs/other
    python benchmarks/serving.py runs/mine --clients 1,4,16 --threads 2

Every client sends its next text as soon as it has its answer (a closed loop), to one session that all share, as the
threads of a server do. Texts come alone and unpadded, with the lengths of 128 real ones (SST-2's dev set) and random
tokens: the answers say nothing, their times everything. One window of each file in turn, so that windows are pairs.
"""

import argparse
import itertools
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from padding import committed_lengths, padded_batches
from study import add_output, counts, keep, run_study, study_parser, watched

from platon_compress.errors import InputError
from platon_compress.export.session import open_session
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare, percentiles
from platon_compress.progress import Progress
from platon_compress.report.heading import run_title
from platon_compress.report.run_data import read_run
from platon_compress.schemas import stamped

__all__ = ["SIDES", "main", "window"]

SIDES = {"dense": "dense.onnx", "dense int8": "dense-int8.onnx", "compressed": "compressed.onnx"}
_STARTING = 0.1  # the share of a window that does not count

Feed = Mapping[str, np.ndarray]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "serving")
    parser.add_argument(
        "runs", type=Path, nargs="+", help="folders of finished runs of models that take texts"
    )
    parser.add_argument("--clients", type=counts, default=(1, 2, 4, 8), help="default 1,2,4,8")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one window, default 2")
    parser.add_argument(
        "--windows", type=int, default=6, help="of each file with each number of clients, default 6"
    )
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    if options.seconds <= 0 or options.windows < 1 or min(options.clients) < 1:
        raise InputError(
            f"nothing to measure with {options.windows} windows of {options.seconds:g} s and {options.clients} clients; "
            "give at least one of each"
        )
    threads = options.threads or 1
    runs = []
    for folder in options.runs:
        runs.append(_one_run(folder, options, threads))
        yield from _lines(runs[-1])
    content = {
        "environment": describe_environment(threads=threads), "seconds": options.seconds, "runs": runs,
    }  # fmt: skip
    yield keep(options, stamped("serving", content), title="Concurrent requests", masks="trained")


def _one_run(folder: Path, options: argparse.Namespace, threads: int) -> dict[str, Any]:
    """Title, sparsity, and for each number of clients the windows of every file that is there."""
    run = read_run(folder)
    files = {name: folder / "onnx" / file for name, file in SIDES.items()}
    sessions = {
        name: open_session(path, threads=threads, stop_spinning=True)
        for name, path in files.items()
        if path.exists()
    }
    feeds = padded_batches(committed_lengths(), 1)
    with watched(f"serving, {folder.name}") as progress:
        rows = [
            {"clients": clients, **_alternating(sessions, feeds, clients, options, progress)}
            for clients in options.clients
        ]
    return {"run": folder.name, "title": run_title(run), "sparsity": run.sparsity, "rows": rows}


def _alternating(
    sessions: Mapping[str, Any],
    feeds: Sequence[Feed],
    clients: int,
    options: argparse.Namespace,
    progress: Progress,
) -> dict[str, Any]:
    windows: dict[str, list[dict[str, float]]] = {name: [] for name in sessions}
    for done in range(options.windows):
        for name, session in sessions.items():
            windows[name].append(window(session, feeds, clients=clients, seconds=options.seconds))
        progress(done + 1, options.windows)
    each = {name: [1 / w["requests_per_second"] for w in found] for name, found in windows.items()}
    ratios = [
        compare(each, baseline=name, candidate="compressed").to_dict()
        for name in each
        if name != "compressed"
    ]
    return {"windows": windows, "throughput_ratios": ratios}


def window(session: Any, feeds: Sequence[Feed], *, clients: int, seconds: float) -> dict[str, float]:
    """Load `session` by `clients` threads for `seconds`: {"requests", "requests_per_second", "p50_seconds", ...}.

    What was answered in the first tenth is not counted. Raises what a client's request raises.
    """
    names = [value.name for value in session.get_inputs()]
    chosen = [{name: feed[name] for name in names} for feed in feeds]
    turn = itertools.count()
    taken: list[list[float]] = [[] for _ in range(clients)]
    errors: list[Exception] = []
    begin = time.perf_counter()
    counted, end = begin + _STARTING * seconds, begin + seconds

    def client(latencies: list[float]) -> None:
        try:
            while (started := time.perf_counter()) < end:
                session.run(None, chosen[next(turn) % len(chosen)])
                if started >= counted:
                    latencies.append(time.perf_counter() - started)
        except Exception as error:  # raised in the thread that asked
            errors.append(error)

    workers = [threading.Thread(target=client, args=(latencies,)) for latencies in taken]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if errors:
        raise errors[0]
    latencies = [seconds for found in taken for seconds in found]
    if not latencies:
        raise InputError(f"no request was answered in {seconds:g} s; give more --seconds")
    per_second = len(latencies) / (time.perf_counter() - counted)
    return {"requests": len(latencies), "requests_per_second": per_second, **percentiles(latencies)}


def _lines(run: Mapping[str, Any]) -> Iterator[str]:
    for row in run["rows"]:
        said = (
            f"{name} {np.median([w['requests_per_second'] for w in windows]):.0f}/s, "
            f"p99 {1e3 * np.median([w['p99_seconds'] for w in windows]):.1f} ms"
            for name, windows in row["windows"].items()
        )
        yield f"{run['title']}, {run['sparsity']:.0%}, {row['clients']} clients: {'; '.join(said)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
