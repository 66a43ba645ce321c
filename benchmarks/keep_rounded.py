"""Keeps what 8-bit values cost and gain in finished runs: the same rows, before and after rounding, as one result.

    platon-compress compress runs/mine/model -o runs/mine-int8 --values int8 --dense runs/mine/stages/dense \\
        --data test.tsv --text sentence --label label
    python benchmarks/keep_rounded.py "STS-B regression=runs/mine-int8" -o benchmarks/results

Each argument is TITLE=RUN, of a run with 8-bit values and labelled rows.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import add_output, keep, run_study, study_parser

from platon_compress.errors import InputError
from platon_compress.report.run_data import RunData, read_run
from platon_compress.schemas import stamped

__all__ = ["main"]

_ROUTES = {"dense": "dense", "dense_int8": "dense_int8", "float32": "onnx_float32", "int8": "onnx_compressed"}


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "rounded")
    parser.add_argument("runs", nargs="+", help="TITLE=RUN")
    return run_study(_keep, parser, arguments)


def _keep(options: argparse.Namespace) -> Iterator[str]:
    named = [text.partition("=") for text in options.runs]
    if wrong := [title for title, _, folder in named if not folder]:
        raise InputError(f"{wrong[0]!r} names no run; write TITLE=RUN")
    runs = {title: read_run(Path(folder)) for title, _, folder in named}
    rows = [_row(title, run) for title, run in runs.items()]
    environment = next(iter(runs.values())).bench.environment
    yield keep(
        options, stamped("rounded", {"environment": environment, "rows": rows}), title="8-bit values in tasks"
    )


def _row(title: str, run: RunData) -> dict[str, Any]:
    scores: Mapping[str, Any] = run.parity.get("scores", {})
    change = run.rounded.get("rounding", {}).get("metric_difference")
    if change is None or not all(route in scores for route in _ROUTES.values()):
        raise InputError(
            f"{run.folder} has no 8-bit values or no metric; compress it with --values int8 and --data"
        )
    kept = scores[_ROUTES["int8"]]
    setting = run.bench.settings[0]
    pairs = [("dense", "compressed"), ("dense_int8", "compressed"), ("compressed_float32", "compressed")]
    ratios = [setting.ratio(candidate, baseline) for baseline, candidate in pairs]
    return {
        "title": title,
        "task": run.task,
        "sparsity": run.sparsity,
        "metric": kept["metric"],
        "unit": kept["unit"],
        "units": kept["units"],
        "values": {name: scores[route]["values"][kept["metric"]] for name, route in _ROUTES.items()},
        "change": change,
        "batch": setting.batch,
        "tokens": setting.tokens,
        "ratios": [ratio.to_dict() for ratio in ratios if ratio is not None],
        "seconds": {name: list(samples.warm_seconds) for name, samples in setting.samples.items()},
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
