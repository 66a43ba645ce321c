"""What a compressed checkpoint of a BERT-base takes on disk, and how long it is until its model answers.

    python benchmarks/checkpoint.py
    python benchmarks/checkpoint.py -o benchmarks/results --rounds 15

The same weights (random, with random zeros in the linear layers of the blocks) as `save_pretrained` and as
`save_compressed` write them, opened in turn by processes of their own with warm caches. Two times: until the loading
call returns, and until one text has gone through the model as well: a dense file is mapped and read when it is used.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from study import add_output, keep, run_study, share, study_parser, watched

from platon_compress.errors import CheckFailedError, InputError
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare
from platon_compress.progress import Progress, silent
from platon_compress.schemas import stamped

__all__ = ["MEASURES", "main", "run_checkpoint_study"]

MEASURES = ("load_seconds", "answer_seconds")
_CHILD = "--child"  # how the measured process is started
_SIDES = ("dense", "compressed")


def run_checkpoint_study(
    *,
    sparsity: float = 0.9,
    rounds: int = 15,
    sizes: Mapping[str, int] | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """A JSON-able report. `sizes` are settings of BertConfig that differ from BERT-base.

    Raises InputError for settings that measure nothing, CheckFailedError when a process fails.
    """
    if not 0 < sparsity < 1 or rounds < 1:
        raise InputError(f"sparsity {sparsity} and rounds {rounds} measure nothing; give 0.9 and 15")
    with tempfile.TemporaryDirectory(prefix="platon-checkpoint-") as scratch:
        folders = {side: Path(scratch) / side for side in _SIDES}
        _write(folders, sparsity, sizes or {})
        environment = describe_environment()
        samples: dict[str, dict[str, list[float]]] = {m: {side: [] for side in _SIDES} for m in MEASURES}
        for number in range(-1, rounds):  # the first round warms the caches
            for side in _SIDES if number % 2 else reversed(_SIDES):
                times = _open_in_process(side, folders[side])
                for measure in MEASURES if number >= 0 else ():
                    samples[measure][side].append(times[measure])
            progress(number + 1, rounds, "opening in turn")
        disk = {side: _bytes(folder) for side, folder in folders.items()}
    ratios = {
        measure: compare(times, baseline="dense", candidate="compressed").to_dict()
        for measure, times in samples.items()
    }
    return stamped(
        "checkpoint",
        {"environment": environment, "bytes": disk, "samples": samples, "ratios": ratios, "rounds": rounds},
    )


def main(arguments: Sequence[str]) -> int:
    """The command line above, or the measured process itself."""
    if list(arguments[:1]) == [_CHILD]:
        sys.stdout.write(json.dumps(_times(arguments[1], Path(arguments[2]))) + "\n")
        return 0
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "checkpoint")
    parser.add_argument("--sparsity", type=share, default=0.9)
    parser.add_argument("--rounds", type=int, default=15)
    return run_study(_measure, parser, arguments)


def _measure(options: argparse.Namespace) -> Iterator[str]:
    with watched("checkpoints") as progress:
        report = run_checkpoint_study(sparsity=options.sparsity, rounds=options.rounds, progress=progress)
    dense, compressed = (report["bytes"][side] / 1e6 for side in _SIDES)
    yield f"{compressed:.1f} MB against {dense:.1f} MB dense"
    for measure in MEASURES:
        ratio = report["ratios"][measure]
        yield f"{measure}: dense over compressed {ratio['median']:.2f}x ({ratio['low']}-{ratio['high']})"
    yield keep(options, report, title="BERT-base", sparsity=options.sparsity)


def _write(folders: Mapping[str, Path], sparsity: float, sizes: Mapping[str, int]) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    from platon_compress import PlanConfig, bake, convert, plan, save_compressed
    from platon_compress.planning import Form
    from platon_compress.selection import select

    torch.manual_seed(0)
    model = BertForSequenceClassification(BertConfig(**sizes)).eval()
    baked = bake(model, {name: torch.rand_like(weight) >= sparsity for name, weight in select(model).items()})
    baked.model.save_pretrained(folders["dense"])
    save_compressed(
        convert(baked, plan(baked, PlanConfig(tokens=128, force=Form.CSR))), folders["compressed"]
    )


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def _open_in_process(side: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, _CHILD, side, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckFailedError(f"opening the {side} checkpoint failed: {done.stderr.strip()[-200:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _times(side: str, folder: Path) -> dict[str, float]:
    """Seconds of one opening, and of it with one text of 16 tokens; imports are nobody's loading time."""
    import torch

    load = _loader(side)
    start = time.perf_counter()
    model = load(folder)
    loaded = time.perf_counter()
    with torch.no_grad():
        model(torch.ones((1, 16), dtype=torch.long))
    return {"load_seconds": loaded - start, "answer_seconds": time.perf_counter() - start}


def _loader(side: str) -> Callable[[Path], Any]:
    from transformers import BertForSequenceClassification

    from platon_compress import load_compressed

    if side == "dense":
        return lambda folder: BertForSequenceClassification.from_pretrained(folder).eval()
    return lambda folder: load_compressed(folder).model


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
