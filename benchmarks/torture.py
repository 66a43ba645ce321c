"""Whole runs that are killed, run folders that are damaged, and runs where something around them is wrong: counts.

    python benchmarks/torture.py
    python benchmarks/torture.py --kills 100 --mutations 100 -o benchmarks/results

Runs of seconds of the real command, in children of this process. kill -9 comes at random moments of every stage, in first
runs, in runs that go on, and in stages that are done again. After each kill every file is the old one or the new one,
what the state calls finished is there, and the run goes on to the same bits as one that nobody disturbed. A damaged
folder is repaired or refused in one line, and nothing outside it is touched. Surroundings: full disks, closed output,
foreign locales and others, one after the other. The first broken promise ends the study with exit status 1, and its
folder stays.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from study import add_output, keep, names, run_study, study_parser
from torturing.jobs import JOBS, undisturbed
from torturing.kills import kill_runs
from torturing.mutations import mutate_folders
from torturing.surroundings import SURROUNDINGS

from platon_compress.errors import InputError
from platon_compress.measure.environment import describe_environment
from platon_compress.schemas import stamped

__all__ = ["main"]

# The part of the result that it belongs to, the row, the line that is printed.
_Row = tuple[str, dict[str, Any], str]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "torture")
    parser.add_argument("--jobs", type=names, default=tuple(JOBS), help=f"default {','.join(JOBS)}")
    known = ",".join(SURROUNDINGS)
    parser.add_argument("--surroundings", type=names, default=tuple(SURROUNDINGS), help=f"default {known}")
    parser.add_argument("--kills", type=int, default=8, help="for each job, default 8")
    parser.add_argument("--mutations", type=int, default=8, help="for each job, default 8")
    parser.add_argument("--seed", type=int, default=1)
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    for given, known in ((options.jobs, JOBS), (options.surroundings, SURROUNDINGS)):
        if unknown := [name for name in given if name not in known]:
            raise InputError(f"there is no {unknown[0]!r}; choose of {', '.join(known)}")
    _import_once()
    written = ""
    content: dict[str, Any] = {
        "environment": describe_environment(), "seed": options.seed, "rows": [], "surroundings": []
    }  # fmt: skip
    for part, row, line in chain(_jobs(options), _surroundings(options.surroundings)):
        content[part].append(row)
        yield line
        written = keep(options, stamped("torture", content), title="Kills, damaged folders, bad surroundings")
    yield written


@contextmanager
def _place(name: str) -> Iterator[Path]:
    """A folder that stays where something went wrong."""
    place = Path(tempfile.mkdtemp(prefix=f"platon-{name}-"))
    yield place
    shutil.rmtree(place)


def _jobs(options: argparse.Namespace) -> Iterator[_Row]:
    for name in options.jobs:
        with _place(name) as place:
            case = undisturbed(name, place)
            kills = kill_runs(case, options.kills, options.seed)
            mutations = mutate_folders(case, options.mutations, options.seed)
        row = {"job": name, "title": JOBS[name].title, **kills, **mutations}
        yield "rows", row, _line(row)


def _surroundings(wanted: Sequence[str]) -> Iterator[_Row]:
    """Of the first job; what this machine does not allow has no ends."""
    if not wanted:
        return
    with _place("around") as place:
        case = undisturbed(next(iter(JOBS)), place)
        for name in wanted:
            (place / name).mkdir()
            ends = SURROUNDINGS[name].tried(case, place / name)
            counts = {"finished": None, "refused": None} if ends is None else asdict(ends)
            title = SURROUNDINGS[name].title
            told = f"{title}: {counts['finished']} runs ended with the same bits, {counts['refused']} in one line"
            yield "surroundings", {"name": name, "title": title, **counts}, told


def _import_once() -> None:
    """What every run needs: its children are forked, and pay nothing for it."""
    import torch
    from sklearn.datasets import load_digits

    import platon_compress.pipeline.runner
    import platon_compress.pruning.trainer  # noqa: F401

    torch.set_num_threads(1)
    load_digits()


def _line(row: dict[str, Any]) -> str:
    stages = ", ".join(f"{stage} {count}" for stage, count in row["stages"].items())
    return (
        f"{row['job']}: {sum(row['stages'].values())} kills ({stages}), {row['repeated']} of them in stages done again; "
        f"{row['continued']} runs went on, {row['finished']} ended, with the same bits; {row['mutations']} damaged "
        f"folders, {row['refused']} refused in one line, {row['went_on']} went on"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
