"""Everything worth measuring on a machine that is only lent, in one call that keeps to its minutes.

    python benchmarks/machine.py
    python benchmarks/machine.py --minutes 8 -o machine.json --parts kernels,bert

Needs no network, and runs from a checkout or with an installed wheel. The most valuable part comes first; each gets
its share of the minutes, what is left over goes to cells that had to wait. Every cell is in the file as soon as it is
done: the call may be killed, and a second call goes on from there. Each part runs in a process of its own, so that one
that crashes costs its running cell and nothing else; what failed is a line in the file.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from parts.cells import Part, Setup
from parts.encoders import BERT, VIT
from parts.facts import describe_machine
from parts.forms import FORMS
from parts.kernels import KERNELS
from parts.onnx_cuda import ONNX_CUDA
from parts.pruner import PRUNER
from parts.record import Record, open_record

from platon_compress.errors import InputError, PlatonError, first_line

__all__ = ["PARTS", "main", "run_part"]

PARTS = (KERNELS, BERT, PRUNER, FORMS, VIT, ONNX_CUDA)
"""The most valuable first."""

_OUTPUT = Path("runs/studies/machine.json")
_LEAST_SECONDS = 2.0  # less is not worth starting a process for
_GRACE_SECONDS = 15.0  # a cell that has begun may pass its part's share by this, and by half of the share


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    options = _parse(arguments)
    setup = Setup(models=options.models, tiny=options.tiny, device=options.device)
    try:
        parts = _chosen(options.parts)
        if options.list:
            sys.stdout.write("".join(_lines(parts, setup)))
        elif options.part_until is not None:
            run_part(parts[0], setup, Record(options.output, {}).reload(), options.part_until)
        else:
            record = open_record(options.output, parts, setup, describe_machine)
            _share_out(parts, record, time.time() + 60 * options.minutes, _command(options))
    except PlatonError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def run_part(part: Part, setup: Setup, record: Record, until: float) -> None:
    """Cells that wait, one after the other, until the time (seconds since the epoch) has come."""
    if reason := part.unavailable(setup):
        record.part(part.name)["unavailable"] = reason
        record.save()
        return
    cells = {cell.name: cell for cell in part.cells(setup)}
    waiting = record.waiting(part.name)
    for number, name in enumerate(waiting):
        left = until - time.time()
        if left <= 0:
            return
        _say(f"{part.name}: {name}, {len(waiting) - number} cells and {left:.0f} s left in this part")
        record.start(part.name, name)
        started = time.perf_counter()
        try:
            content = cells[name].run(left / (len(waiting) - number))
        except Exception as error:  # one cell, whatever it meets, must not cost the others
            record.fail(part.name, name, f"{type(error).__name__}: {first_line(error)}")
        else:
            record.finish(part.name, name, {"wall_seconds": time.perf_counter() - started, "result": content})


def _share_out(parts: tuple[Part, ...], record: Record, end: float, command: list[str]) -> None:
    """Everybody's share in the order of value, then the rest of the time to whoever still waits."""
    for index, part in enumerate(parts):
        shares = sum(other.share for other in parts[index:])
        record = _give(part, record, (end - time.time()) * part.share / shares, end, command)
    for part in parts:
        if record.waiting(part.name):
            record = _give(part, record, end - time.time(), end, command)
    _summary(parts, record)


def _give(part: Part, record: Record, seconds: float, end: float, command: list[str]) -> Record:
    """So many seconds for one part; a process that dies over one cell is started again for the next."""
    until = time.time() + seconds
    last = min(end, until + seconds / 2 + _GRACE_SECONDS)
    while record.waiting(part.name) and until - time.time() >= _LEAST_SECONDS:
        record = _one_process(part, record, until, last, command)
    return record


def _one_process(part: Part, record: Record, until: float, last: float, command: list[str]) -> Record:
    started = [*command, "--parts", part.name, "--part-until", repr(until)]
    before = len(record.waiting(part.name))
    child = subprocess.Popen(started)
    try:
        code = child.wait(timeout=max(0.1, last - time.time()))
        reason = f"the process ended with {code}"
    except subprocess.TimeoutExpired:
        child.kill()
        code = child.wait()
        reason = "stopped, because the time was up"
    except BaseException:
        child.kill()
        raise
    record = record.reload()
    running = record.part(part.name)["running"]
    if running is not None:
        record.fail(part.name, running, reason)
    elif code != 0 and len(record.waiting(part.name)) == before:
        record.part(part.name)["unavailable"] = f"{reason} before its first cell"
        record.save()
    return record


def _summary(parts: tuple[Part, ...], record: Record) -> None:
    for part in parts:
        entry = record.part(part.name)
        state = f"{len(entry['cells'])} cells done, {len(entry['failed'])} failed, {len(entry['left'])} left"
        _say(f"{part.name}: {entry['unavailable'] or state}")
        for cell, reason in entry["failed"].items():
            _say(f"  {cell}: {reason}")


def _command(options: argparse.Namespace) -> list[str]:
    given = ["-o", str(options.output), "--models", str(options.models), "--device", options.device]
    return [sys.executable, str(Path(__file__).resolve()), *given, *["--tiny"] * options.tiny]


def _chosen(names: str | None) -> tuple[Part, ...]:
    known = {part.name: part for part in PARTS}
    wanted = names.split(",") if names else list(known)
    if unknown := [name for name in wanted if name not in known]:
        raise InputError(f"no part {unknown[0]!r}; choose from {', '.join(known)}")
    return tuple(part for part in PARTS if part.name in wanted)


def _lines(parts: tuple[Part, ...], setup: Setup) -> list[str]:
    total = sum(part.share for part in parts)
    lines = []
    for part in parts:
        cells = part.cells(setup)
        lines.append(f"{part.name}: {part.title}, {part.share / total:.0%} of the time, {len(cells)} cells\n")
        lines += [f"  {cell.name}\n" for cell in cells]
    return lines


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, default=_OUTPUT, help=f"the file, default {_OUTPUT}")
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--parts", help="names, separated by commas; all of them without it")
    parser.add_argument("--list", action="store_true", help="say what would be measured, and stop")
    parser.add_argument("--models", type=Path, default=Path("runs/machine"), help="keeps the exported models")
    parser.add_argument(
        "--device", choices=("cuda", "cpu"), default="cuda", help="of the accelerator's parts"
    )
    parser.add_argument("--tiny", action="store_true", help="tiny shapes, to try the script out")
    parser.add_argument("--part-until", type=float, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
