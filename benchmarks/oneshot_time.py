"""How long a whole `compress --sparsity` takes, from a dense model to a measured file, and where the time goes.

    python benchmarks/oneshot_time.py --model FOLDER --calibration texts.txt --threads 2 --title "BERT-base, 400 sentences"

The command runs in a process of its own, as a user gives it; the weights may be random, the time does not depend on them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from study import add_output, keep, run_study, share, study_parser

from platon_compress.errors import CheckFailedError
from platon_compress.files import read_json
from platon_compress.measure.environment import describe_environment, usable_cores
from platon_compress.schemas import stamped

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__)
    add_output(parser, "oneshot-time")
    parser.add_argument("--model", required=True, help="a dense model: folder, hub id or package:NAME")
    parser.add_argument("--task", help="as in a recipe; default: what the model names")
    parser.add_argument("--title", required=True, help="what model and data are called in the table")
    parser.add_argument("--calibration", required=True, help="a few hundred inputs to prune by")
    parser.add_argument("--sparsity", type=share, default=0.5, help="default 0.5")
    parser.add_argument("--method", default="sparsegpt", help="default sparsegpt")
    parser.add_argument("--values", default="int8", help="of the sparse weights, default int8")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    threads = options.threads or usable_cores()
    environment = describe_environment(threads=threads)
    with tempfile.TemporaryDirectory(prefix="platon-oneshot-") as scratch:
        folder = Path(scratch) / "run"
        started = time.perf_counter()
        _compress(options, threads, folder)
        seconds = time.perf_counter() - started
        state = read_json(folder / "state.json", "run the study again")
    stages = {name: stage["seconds"] for name, stage in state["stages"].items()}
    pruned = state["stages"]["prune"]["result"]["oneshot"]
    content: dict[str, Any] = {
        "environment": environment,
        "sparsity": options.sparsity,
        "method": options.method,
        "values": options.values,
        "seconds": seconds,
        "stages": stages,
        "layers": len(pruned["layers"]),
        "calibration_rows": pruned["examples"],
        "tokens": pruned["tokens"],
        # in kilobytes on Linux; of the largest process
        "peak_bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
    }
    yield f"{seconds / 60:.1f} minutes: " + ", ".join(
        f"{name} {taken:.0f} s" for name, taken in stages.items()
    )
    yield keep(options, stamped("oneshot-time", content), title=options.title)


def _compress(options: argparse.Namespace, threads: int, folder: Path) -> None:
    command = [
        sys.executable, "-P", "-m", "platon_compress", "compress", options.model, "-o", str(folder),
        "--sparsity", f"{options.sparsity:g}", "--calibration", options.calibration, "--method", options.method,
        "--values", options.values, "--threads", str(threads), *(["--task", options.task] if options.task else []),
    ]  # fmt: skip
    done = subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    if done.returncode:
        raise CheckFailedError(f"compress ended with {done.returncode}; what it said stands above")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
