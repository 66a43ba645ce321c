"""The pruner's cost over the number of prunable weights, from a committed training result.

    python benchmarks/plot_linearity.py
    python benchmarks/plot_linearity.py runs/studies/training.json

Without a result: the committed one, drawn again beside it.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import RESULTS, run_study, study_parser

from platon_compress.errors import InputError
from platon_compress.files import read_json
from platon_compress.schemas import require_kind

__all__ = ["main", "write_linearity"]

_KINDS = {"step_seconds": "step without a mask", "ranking_seconds": "step with a fresh ranking"}


def write_linearity(result: Mapping[str, Any], path: str | Path) -> None:
    """One PNG or SVG: milliseconds over millions of weights, beside lines through the origin. InputError without rows."""
    from matplotlib.figure import Figure

    require_kind(result, "training", "the result", "give the JSON of the training benchmark")
    rows = result.get("linear")
    if not rows:
        raise InputError("the result holds no rows 'linear'; give the JSON of the training benchmark")
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    millions = [row["weights"] / 1e6 for row in rows]
    for key, label in _KINDS.items():
        milliseconds = [1e3 * row[key] for row in rows]
        slope = sum(milliseconds) / sum(millions)
        (line,) = axes.plot([0, millions[-1]], [0, slope * millions[-1]], linewidth=1)
        axes.scatter(
            millions, milliseconds, color=line.get_color(), label=f"{label}, {slope:.2g} ns per weight"
        )
    axes.set(xlabel="prunable weights, millions", ylabel="ms, median", xlim=(0, None), ylim=(0, None))
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    parser.add_argument("result", nargs="?", type=Path, default=RESULTS / "training.json")
    parser.add_argument("--picture", type=Path, default=None, help="default: the result's path, as .png")
    return run_study(_draw, parser, arguments)


def _draw(options: argparse.Namespace) -> Iterator[str]:
    picture = options.picture or options.result.with_suffix(".png")
    result = read_json(options.result, "give the JSON of the study training.py")
    write_linearity(result, picture)
    yield f"written: {picture}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
