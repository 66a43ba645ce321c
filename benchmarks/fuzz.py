"""What readers and kernels make of inputs that nobody meant: counts, and the lines that they covered.

    python benchmarks/fuzz.py --targets native --native-inputs 1000000
    python benchmarks/fuzz.py --inputs 50000

The native targets are built with libFuzzer, address and undefined-behaviour sanitizers (clang). Those of the readers are
seeded: the same seed gives the same inputs. Every input must end in a result or in one line of InputError. What ends
otherwise is kept below --build, and the exit status is 1. Targets of earlier calls stay in the result.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from fuzzing.native import NATIVE, build, fuzz_native
from fuzzing.readers import READERS
from fuzzing.run import fuzz_reader
from study import add_output, keep, names, run_study, study_parser

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.files import read_json
from platon_compress.measure.environment import describe_environment
from platon_compress.schemas import require_kind, stamped

__all__ = ["main"]

_BUILD = Path("build/fuzz")


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "fuzz")
    parser.add_argument(
        "--targets",
        type=names,
        default=("native", "readers"),
        help=f"of {', '.join(_all_targets())}; default all",
    )
    parser.add_argument("--inputs", type=int, default=2_000, help="for each reader, default 2,000")
    parser.add_argument(
        "--native-inputs", type=int, default=50_000, help="for each native target, default 50,000"
    )
    parser.add_argument(
        "--seconds", type=int, default=3600, help="at most, for each native target; default 3,600"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiler", default="clang++")
    parser.add_argument(
        "--build", type=Path, default=_BUILD, help=f"folder of the programs, default {_BUILD}"
    )
    return run_study(_study, parser, arguments)


def _all_targets() -> tuple[str, ...]:
    return ("native", *NATIVE, "readers", *READERS)


def _study(options: argparse.Namespace) -> Iterator[str]:
    if unknown := [name for name in options.targets if name not in _all_targets()]:
        raise InputError(f"there is no target {unknown[0]!r}; choose of {', '.join(_all_targets())}")
    rows, environment, written = _rows_before(options), describe_environment(), ""
    for row in chain(_native_rows(options), _reader_rows(options)):
        rows[row["target"]] = {
            **row,
            "seed": options.seed,
            "commit": (environment["git"] or {}).get("commit"),
        }
        yield _line(row)
        content = {
            "environment": environment,
            "rows": [rows[name] for name in _all_targets() if name in rows],
        }
        written = keep(options, stamped("fuzz", content), title="Fuzzing")
    yield written
    if faulty := [f"{name} ({row['faults']})" for name, row in rows.items() if row["faults"]]:
        raise CheckFailedError(
            f"inputs end as they must not: {', '.join(faulty)}; they lie in {options.build}"
        )


def _rows_before(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Of targets that an earlier call has run into the same file."""
    path = options.output / f"{options.name}.json"
    if not path.is_file():
        return {}
    cure = "remove it"
    content = require_kind(read_json(path, cure), "fuzz", str(path), cure)
    return {row["target"]: row for row in content["rows"]}


def _native_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    wanted = [name for name in NATIVE if {name, "native"} & set(options.targets)]
    if not wanted:
        return
    programs = build(options.build, options.compiler)
    for name in wanted:
        start = time.perf_counter()
        found = fuzz_native(
            programs[name], NATIVE[name], options.native_inputs, options.seconds, options.seed
        )
        seconds = time.perf_counter() - start
        yield {"target": name, "title": NATIVE[name].title, "kind": "native", "seconds": seconds, **found}


def _reader_rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for name, reader in READERS.items():
        if {name, "readers"} & set(options.targets):
            start = time.perf_counter()
            found = fuzz_reader(reader, options.inputs, options.seed, options.build / "faults")
            seconds = time.perf_counter() - start
            yield {"target": name, "title": reader.title, "kind": "reader", "seconds": seconds, **found}


def _line(row: dict[str, Any]) -> str:
    covered = f", {row['coverage']['share']:.1%} of the lines" if row.get("coverage") else ""
    faults = "".join(f"\n  {count} x {fault}" for fault, count in row.get("kinds_of_faults", {}).items())
    return (
        f"{row['target']}: {row['inputs']:,} inputs in {row['seconds']:.0f} s, {row['first_check']:,} refused by the first "
        f"check, {row['refused']:,} later, {row['accepted']:,} accepted, {row['faults']} faults{covered}{faults}"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
