"""What 2 to 16 threads can gain by the way the work is cut, simulated; as many as this machine has cores, also measured.

    python benchmarks/threads.py
    python benchmarks/threads.py --trained 0.9=runs/mine/model --least-rows 0,96 -o benchmarks/results

The library cuts the layers of one encoder block as on a machine of N cores, all of them as CSR, and every work item is
timed on one thread of this one. Then N threads take the items in order, each the next one as soon as it is free: how
even is the work, how long do threads wait, and how much faster is the block at most? Caches, memory and clock rates
that threads share are not in it, so it is a bound.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from splitting.layers import SHAPES, Block, BlockShape, Weights, random_weights, trained_weights
from splitting.schedule import Loop, simulate
from study import add_output, counts, keep, names, run_study, shares, study_parser

from platon_compress.errors import InputError
from platon_compress.export.kernels.native import NativePool, burn
from platon_compress.library import selected_kernel
from platon_compress.measure.environment import describe_environment
from platon_compress.measure.timing import compare, measure_interleaved
from platon_compress.schemas import stamped

__all__ = ["block_seconds", "main"]

_THREADS = (1, 2, 4, 8, 16)
_CELLS = ((1, 32), (1, 128), (8, 128))  # batch, tokens
_TRAINED = "minilm-l6"
_LOOPS = 5  # of a block; of several blocks the first one's items are kept
_KEPT_ITEMS = 32  # of a loop, in the result
_SAMPLE_SECONDS = 0.004  # what disturbs a machine for a moment must not meet all samples
_BURN_ROUNDS = 5000  # some 20 microseconds: the caller must not be done before others come


@dataclass(frozen=True, kw_only=True)
class _Subject:
    """What is cut: blocks with different masks, for `batch` texts of `tokens` tokens."""

    shape: BlockShape
    masks: str
    sparsity: float
    blocks: Sequence[Weights]
    batch: int
    tokens: int


def main(arguments: Sequence[str]) -> int:
    """The command line above."""
    parser = study_parser(__doc__, threads=False)
    add_output(parser, "threads")
    parser.add_argument("--models", type=names, default=tuple(SHAPES), help=f"default {','.join(SHAPES)}")
    parser.add_argument("--sparsities", type=shares, default=(0.8, 0.9, 0.95), help="of random masks")
    parser.add_argument(
        "--trained", action="append", default=[], metavar="SHARE=FOLDER",
        help="masks of the MiniLM-L6 in the folder `model` of a run; may be given several times",
    )  # fmt: skip
    parser.add_argument("--threads", type=counts, default=_THREADS, help="default 1,2,4,8,16")
    parser.add_argument(
        "--least-rows", type=counts, default=(0,), help="of a chunk, several to compare; default 0: the library's own"
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=9, help="of each item, default 9")
    parser.add_argument("--pairs", type=int, default=40, help="of one and N threads, default 40; 0: none")
    return run_study(_study, parser, arguments)


def _study(options: argparse.Namespace) -> Iterator[str]:
    if unknown := [name for name in options.models if name not in SHAPES]:
        raise InputError(f"no shapes of blocks {unknown[0]!r}; choose of {', '.join(SHAPES)}")
    if options.threads[:1] != (1,) or min(options.threads) < 1:
        raise InputError(f"--threads must begin with 1, got {','.join(map(str, options.threads))}")
    late, rows = _late_seconds(), []
    for subject in _subjects(options):
        rows.append(
            {**_simulated(subject, late, options), "measured": list(_measured(subject, late, options))}
        )
        yield _line(rows[-1])
    content = {
        "environment": describe_environment(isa=selected_kernel()), "late_seconds": late, "rounds": options.rounds,
        "rows": rows,
    }  # fmt: skip
    yield keep(options, stamped("threads", content), title="Threads, simulated")


def _subjects(options: argparse.Namespace) -> Iterator[_Subject]:
    found: list[tuple[BlockShape, str, float, list[Weights]]] = []
    for name in options.models:
        shape = SHAPES[name]
        found += [(shape, "random", share, [random_weights(shape, share)]) for share in options.sparsities]
    for text in options.trained:
        share, _, folder = text.partition("=")
        shape = SHAPES[_TRAINED]
        found.append((shape, "trained", shares(share)[0], trained_weights(Path(folder), shape)))
    for shape, masks, sparsity, blocks in found:
        for batch, tokens in _CELLS:
            yield _Subject(
                shape=shape, masks=masks, sparsity=sparsity, blocks=blocks, batch=batch, tokens=tokens
            )


@contextmanager
def _spread(threads: int) -> Iterator[NativePool]:
    """A pool whose caller stays on one core and its other threads on others: none waits for another one's core."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cores[1:threads] or cores[:1])  # what threads that begin now inherit
        with NativePool(threads) as pool:
            os.sched_setaffinity(0, cores[:1])
            yield pool
    finally:
        os.sched_setaffinity(0, cores)


def _late_seconds() -> float:
    """How long after the caller another thread begins, and both know that all is done; of more nothing is known here."""
    kernel = selected_kernel()
    with NativePool(1) as one, _spread(2) as two:
        sides = {
            "one": lambda: burn(kernel, "fma", _BURN_ROUNDS, one),
            "two": lambda: burn(kernel, "fma", _BURN_ROUNDS, two),
        }
        samples = measure_interleaved(sides, runs=300, pause_seconds=0.0)
    return max(0.0, median(samples["two"]) - median(samples["one"]))


def _simulated(subject: _Subject, late: float, options: argparse.Namespace) -> dict[str, Any]:
    alone = _loops(subject, (1, 0), options.rounds)
    cuts = [
        {
            "least_rows": least,
            **_ended(alone, _loops(subject, (threads, least), options.rounds), threads, late),
        }
        for least in options.least_rows
        for threads in options.threads[1:]
    ]
    return {
        "model": subject.shape.title, "masks": subject.masks, "sparsity": subject.sparsity,
        "batch": subject.batch, "tokens": subject.tokens, "blocks": len(subject.blocks),
        "alone": [_told(loop) for loop in alone[:_LOOPS]], "alone_seconds": sum(loop.seconds for loop in alone),
        "cuts": cuts,
    }  # fmt: skip


def _loops(subject: _Subject, cut: tuple[int, int], rounds: int) -> list[Loop]:
    """All loops of all blocks, timed."""
    found: list[Loop] = []
    with NativePool(1) as pool:
        for weights in subject.blocks:
            with Block(
                subject.shape, weights, selected_kernel(), cut, subject.batch, subject.tokens
            ) as block:
                found += block.loops(pool, rounds)
    return found


def _ended(alone: Sequence[Loop], loops: Sequence[Loop], threads: int, late: float) -> dict[str, Any]:
    """The whole block, and its loops by name."""
    by_name = [
        {"name": name, **_sums(_of(alone, name), _of(loops, name), threads, late)}
        for name in dict.fromkeys(loop.name for loop in loops)
    ]
    first = [_told(loop) for loop in loops[:_LOOPS]]
    return {"threads": threads, **_sums(alone, loops, threads, late), "loops": by_name, "items": first}


def _of(loops: Sequence[Loop], name: str) -> list[Loop]:
    return [loop for loop in loops if loop.name == name]


def _sums(alone: Sequence[Loop], loops: Sequence[Loop], threads: int, late: float) -> dict[str, Any]:
    """Of loops one after the other.

    fewest_items  of a loop
    bound         the speed-up over one thread with weights cut for one core
    work          all threads' work over that of one thread: what the finer cut costs
    serial        the share of the work that one thread does alone
    balance       the longest threads' work over the mean
    waits         the share of the loops that threads wait
    """
    ends = [simulate(loop, threads, late) for loop in loops]
    seconds, work = block_seconds(loops, threads, late), sum(loop.seconds for loop in loops)
    busy = sum(sum(end.busy) for end in ends)
    return {
        "fewest_items": min(len(loop.items) for loop in loops),
        "seconds": seconds,
        "bound": sum(loop.seconds for loop in alone) / seconds,
        "work": work / sum(loop.seconds for loop in alone),
        "serial": sum(loop.before for loop in loops) / work,
        "balance": sum(max(end.busy) for end in ends) / (busy / threads),
        "waits": 1 - busy / (threads * sum(end.seconds for end in ends)),
    }


def block_seconds(loops: Sequence[Loop], threads: int, late: float) -> float:
    """Of loops one after the other, to each of which all threads but the caller come `late` seconds after it begins."""
    return sum(loop.before + simulate(loop, threads, late).seconds for loop in loops)


def _told(loop: Loop) -> dict[str, Any]:
    """Its costs in nanoseconds, the items' in a line of text."""
    parts = {name: round(getattr(loop, name) * 1e9) for name in ("before", "packing", "closing")}
    items = " ".join(str(round(seconds * 1e9)) for seconds in loop.items[:_KEPT_ITEMS])
    return {"name": loop.name, "per_panel": loop.per_panel, "count": len(loop.items), **parts, "items": items}


def _measured(subject: _Subject, late: float, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One and N threads in turn, on the first block cut for N cores, beside the simulated ratio."""
    if not options.pairs:
        return
    for threads in options.threads[1:]:
        if threads > len(os.sched_getaffinity(0)):
            return
        with (
            NativePool(1) as one,
            _spread(threads) as more,
            Block(
                subject.shape,
                subject.blocks[0],
                selected_kernel(),
                (threads, 0),
                subject.batch,
                subject.tokens,
            ) as block,
        ):
            loops = block.loops(one, options.rounds)
            alone = block_seconds(loops, 1, 0.0)
            times = max(1, round(_SAMPLE_SECONDS / alone))
            sides = {"one": _all(block.steps(one), times), "more": _all(block.steps(more), times)}
            samples = measure_interleaved(sides, runs=options.pairs, pause_seconds=0.0)
        single = median(samples["one"]) / times
        calls = max(0.0, single - alone)  # of the study itself, in both; the caller's alone
        yield {
            "threads": threads,
            "ratio": compare(samples, baseline="one", candidate="more").to_dict(),
            "simulated": (calls + alone) / (calls + block_seconds(loops, threads, late)),
            "calls_seconds": calls,
            "blocks_per_sample": times,
            "samples": samples,
        }


def _all(steps: Mapping[str, Callable[[], object]], times: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(times):
            for step in steps.values():
                step()

    return run


def _line(row: dict[str, Any]) -> str:
    bounds = ", ".join(
        f"{cut['threads']}{' of ' + str(cut['least_rows']) if cut['least_rows'] else ''}: {cut['bound']:.2f}x"
        for cut in row["cuts"]
    )
    measured = "".join(
        f"; {entry['threads']} threads measured {entry['ratio']['median']:.2f}x, simulated {entry['simulated']:.2f}x"
        for entry in row["measured"]
    )
    return (
        f"{row['model']}, {row['masks']} masks, {row['sparsity']:.0%} zeros, {row['batch']} x {row['tokens']} tokens: "
        f"{row['alone_seconds'] * 1e3:.2f} ms; at most {bounds}{measured}"
    )


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
