"""Keeps a finished run's measurement as a committed result, with its accuracy beside the times.

    python benchmarks/keep_run.py
    python benchmarks/keep_run.py runs/mine --name minilm-sst2-90 --title "MiniLM-L6, SST-2 slice" -o benchmarks/results

Without a run: the demo's, runs/demo.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import RESULTS, add_output, run_study, study_parser

from platon_compress.errors import InputError
from platon_compress.files import read_json
from platon_compress.measure.result_files import save_result

__all__ = ["keep_run", "main"]

_ROUTES = {"dense": "dense", "dense_int8": "dense_int8", "compressed": "onnx_compressed"}


def keep_run(
    run: str | Path, name: str, title: str, folder: str | Path, *, allow_changed_tree: bool = False
) -> Path:
    """Write `folder/name.json` from a run's benchmark.json, parity.json and state.json.

    Raises InputError when the run is unfinished, CheckFailedError when it was measured from a changed checkout.
    """
    path = Path(run)
    bench, state = _read(path / "benchmark.json"), _read(path / "state.json")
    stages = state.get("stages", {})
    if "report" not in stages:
        raise InputError(f"{path} is no finished run; run it to its report first")
    masks = "given"
    if "prune" in stages:
        masks = "trained, distilled" if stages["prune"]["result"].get("distillation") else "trained"
    report = {**bench, "accuracy": _accuracy(_read(path / "parity.json")), "steps": _steps(stages)}
    return save_result(
        folder,
        name,
        report,
        title=title,
        masks=masks,
        sparsity=stages["bake"]["result"]["sparsity"],
        verdict=stages["report"]["result"]["verdict"],
        allow_changed_tree=allow_changed_tree,
    )


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "demo")
    parser.add_argument(
        "run", nargs="?", type=Path, default=Path("runs/demo"), help="folder of a finished run"
    )
    parser.add_argument(
        "--title", default="ViT, 5.3M, digits (demo), 1 thread", help="what it is called in the tables"
    )
    return run_study(_keep, parser, arguments)


def _keep(options: argparse.Namespace) -> Iterator[str]:
    committed = options.output.resolve() == RESULTS
    path = keep_run(
        options.run, options.name, options.title, options.output, allow_changed_tree=not committed
    )
    yield f"written: {path}"


def _accuracy(parity: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Variant to {metric: value, "standard_error"}; empty where the run had no labelled examples."""
    scores = parity.get("scores", {})
    return {
        name: {**scores[route]["values"], "standard_error": scores[route]["standard_error"]}
        for name, route in _ROUTES.items()
        if route in scores
    }


def _steps(stages: Mapping[str, Any]) -> int | None:
    return stages["prune"]["result"]["steps"] if "prune" in stages else None


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, "finish the run first")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
