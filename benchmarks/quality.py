"""What compressed models are worth in their tasks: a grid of real trainings, against dense, dense int8 and controls.

    python benchmarks/quality.py benchmarks/grids/tasks.yaml --list
    python benchmarks/quality.py benchmarks/grids/tasks.yaml --data FOLDER --threads 1 --minutes 60
    python benchmarks/quality.py benchmarks/grids/tasks.yaml --data FOLDER --cells "regression-*" --until prune
    python benchmarks/quality.py benchmarks/grids/tasks.yaml --collect -o benchmarks/results

A cell is one run of the product, in runs/quality/GRID/CELL, in a process of its own. Finished cells are skipped; one that
was killed, or stopped because the minutes (at least one) were up, goes on from its last checkpoint. Where several
processes train at once, stop them all before the measuring (`--until prune`), and measure in one call alone. `--collect`
writes what is finished as quality-GRID.json, beside the rows of that file that nothing here replaces. Needs no network;
trains on a CUDA device in bfloat16 where there is one.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from study import add_output, keep, run_study, study_parser
from trials.cell import finished, run_cell
from trials.collected import collected
from trials.grid import Cell, Grid, Setup, chosen, read_grid

from platon_compress.errors import CheckFailedError
from platon_compress.files import read_json
from platon_compress.measure.environment import usable_cores
from platon_compress.schemas import require_kind, stamped

__all__ = ["main"]

_RUNS = Path("runs/quality")
_LEAST_SECONDS = 60.0  # less is not worth starting a process for
_GRACE_SECONDS = 20.0
_QUIET = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def main(arguments: Sequence[str]) -> int:
    """The command line above; exit 1 when a cell failed, 2 on bad input."""
    parser = study_parser(__doc__)
    add_output(parser, None)
    parser.add_argument("grid", type=Path, help="a YAML file, see trials/grid.py")
    parser.add_argument(
        "--data", type=Path, action="append", default=[],
        help="folder that the grid's {data}/ stands for; given several times, the first that holds a file",
    )  # fmt: skip
    parser.add_argument("--runs", type=Path, default=_RUNS, help=f"folder of the runs, default {_RUNS}")
    parser.add_argument("--cells", help="names or patterns with commas, such as 'regression-*'; default: all")
    parser.add_argument(
        "--minutes", type=float, help="stop after so long, in the middle of a cell if need be"
    )
    parser.add_argument("--until", metavar="STAGE", help="run no stage of a cell after this one")
    parser.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction,
        help="train in bfloat16; default: where there is a CUDA device. A run goes on only as it began",
    )  # fmt: skip
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="say which cells there are, and which are done")
    action.add_argument(
        "--dry-run", action="store_true", help="say what each would train, and how long it takes"
    )
    action.add_argument("--collect", action="store_true", help="write the finished cells as one result")
    action.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    grid = read_grid(options.grid)
    cells, setup = chosen(grid, options.cells), _setup(options)
    if options.list:
        yield from (f"{cell.name}: {_state(grid, cell, setup)}" for cell in cells)
    elif options.dry_run:
        yield from _dry_run(grid, cells, setup)
    elif options.collect:
        yield from _collect(grid, cells, setup, options)
    elif options.here:
        yield from _run_here(grid, cells[0], setup, options.until)
    else:
        yield from _run(grid, cells, setup, options)


def _setup(options: argparse.Namespace) -> Setup:
    threads = options.threads or usable_cores()
    bf16 = options.bf16
    if bf16 is None:
        # torch takes seconds to import, and the process that starts the others never needs it.
        bf16 = (options.here or options.dry_run) and _has_cuda()
    # A run records where its data lies: named from another folder it would be another run.
    data = tuple(folder.resolve() for folder in options.data)
    return Setup(data=data, runs=options.runs, threads=threads, bf16=bf16)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _state(grid: Grid, cell: Cell, setup: Setup) -> str:
    if finished(grid, cell, setup):
        return "done"
    return "begun" if setup.folder(grid, cell).exists() else "waits"


def _dry_run(grid: Grid, cells: Sequence[Cell], setup: Setup) -> Iterator[str]:
    from platon_compress.pipeline.dry_run import describe_run
    from platon_compress.pipeline.reporter import Reporter

    _prepare(setup)
    for cell in cells:
        said = describe_run(setup.recipe(grid, cell), Reporter(quiet=True))
        minutes = said["training_seconds_estimate"] / 60
        yield (
            f"{cell.name}: {said['steps']} dense and {said['pruning_steps']} pruning steps, {minutes:.0f} minutes "
            "without the teacher's"
        )


def _run(grid: Grid, cells: Sequence[Cell], setup: Setup, options: argparse.Namespace) -> Iterator[str]:
    end = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    failed = []
    for cell in cells:
        if finished(grid, cell, setup):
            yield f"{cell.name}: done before"
            continue
        if end is not None and end - time.monotonic() < _LEAST_SECONDS:
            yield f"{cell.name}: waits, the time is up"
            continue
        yield f"{cell.name}: starts"
        started = time.monotonic()
        code = _child(cell, options, setup, end)
        minutes = (time.monotonic() - started) / 60
        if code is None:
            yield f"{cell.name}: stopped after {minutes:.1f} minutes, the time is up; call again to go on"
        elif code:
            failed.append(cell.name)
            yield f"{cell.name}: failed with {code} after {minutes:.1f} minutes"
        else:
            yield f"{cell.name}: {_state(grid, cell, setup)} after {minutes:.1f} minutes"
    if failed:
        raise CheckFailedError(
            f"{len(failed)} cells failed ({', '.join(failed)}); what they said stands above"
        )


def _child(cell: Cell, options: argparse.Namespace, setup: Setup, end: float | None) -> int | None:
    """Run one cell in a process group of its own; its exit code, None where the time was up."""
    data = [part for folder in setup.data for part in ("--data", str(folder))]
    more = ["--until", options.until] if options.until else []
    if options.bf16 is not None:
        more.append("--bf16" if options.bf16 else "--no-bf16")
    command = [
        sys.executable, str(Path(__file__).resolve()), str(options.grid), "--here", "--cells", cell.name,
        "--runs", str(setup.runs), "--threads", str(setup.threads), *data, *more,
    ]  # fmt: skip
    environment = {**os.environ, **_QUIET, "OMP_NUM_THREADS": str(setup.threads)}
    with _stoppable():
        child = subprocess.Popen(command, env=environment, start_new_session=True)
        try:
            return child.wait(None if end is None else max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            return None
        finally:
            _stop(child)


def _stop(child: "subprocess.Popen[bytes]") -> None:
    """End the process and all that it started; one that has ended already is left alone."""
    for number, seconds in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        if child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(seconds)


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """A terminated grid ends its cell, as an interrupted one does."""

    def interrupt(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run_here(grid: Grid, cell: Cell, setup: Setup, until: str | None) -> Iterator[str]:
    from platon_compress.pipeline.reporter import Reporter

    _prepare(setup)
    if run_cell(grid, cell, setup, Reporter(), until):
        yield f"written: {setup.folder(grid, cell) / 'cell.json'}"


def _prepare(setup: Setup) -> None:
    """Threads for torch, and no chatter of other libraries."""
    import torch
    from transformers.utils import logging

    torch.set_num_threads(setup.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def _collect(grid: Grid, cells: Sequence[Cell], setup: Setup, options: argparse.Namespace) -> Iterator[str]:
    name = f"quality-{grid.name}"
    path, cure = options.output / f"{name}.json", "delete it or choose another -o"
    earlier = require_kind(read_json(path, cure), "quality", str(path), cure) if path.exists() else None
    content, said = collected(grid, cells, setup, earlier)
    yield from said
    yield keep(options, stamped("quality", content), title=grid.title, masks="trained", name=name)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
