"""The kernels below the machine's ceilings, from a result of the study kernels.py.

    python benchmarks/plot_roofline.py
    python benchmarks/plot_roofline.py runs/studies/kernel.json

Without a result: the committed one, drawn again beside it.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from study import RESULTS, run_study, study_parser

from platon_compress.files import read_json
from platon_compress.report.roofline import write_roofline

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    parser.add_argument("result", nargs="?", type=Path, default=RESULTS / "kernel.json")
    parser.add_argument("--picture", type=Path, default=None, help="default: roofline.png beside the result")
    return run_study(_draw, parser, arguments)


def _draw(options: argparse.Namespace) -> Iterator[str]:
    picture = options.picture or options.result.with_name("roofline.png")
    write_roofline(read_json(options.result, "give the JSON of the study kernels.py"), picture)
    yield f"written: {picture}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
