"""Paired, interleaved timing.

Single times move by 30 % and more with other load on the host, so nothing here compares two separate runs:
every side is called once per round (A B C A B C ...), and ratios are taken within the round.
Idle worker threads of one ONNX Runtime session go on spinning after each run and would steal the cores from the next
side: every measured session is told to stop that when a run ends (`stop_spinning`). Other engines have no such switch,
so the comparison with them pauses 30 ms before each call. Between our own sessions 5 ms are enough; after longer ones Linux
may wake a thread on the core of the one that waits for it, which weighs more on the faster side: pin_threads.
"""

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from platon_compress.errors import InputError

__all__ = [
    "LEAST_RUNS",
    "MIN_EFFECT",
    "PERCENTILES",
    "PairedRatio",
    "Statement",
    "compare",
    "measure_interleaved",
    "median_interval",
    "percentiles",
]

PERCENTILES = (50, 90, 95, 99)

LEAST_RUNS = 12
"""Rounds below which no time limit goes: their median's 95 % interval leaves out two samples on either side."""

_WARMUP_SHARE = 0.1  # of a time limit

MIN_EFFECT = 0.02
"""Medians nearer to 1 than this are not called a difference: on a shared two-core machine, the same session
timed against itself lands up to about 2 % from 1."""

Statement = Literal["faster", "slower", "undecided"]


@dataclass(frozen=True, kw_only=True)
class PairedRatio:
    """How much faster `candidate` is than `baseline`: baseline time / candidate time, pair by pair.

    Above 1 the candidate is faster. `low` and `high` bound the median with at least 95 % confidence by the
    sign test, so they assume nothing about the distribution of the times; `statement` is "faster" or "slower"
    only when the whole interval lies on one side of 1 and the median is at least `MIN_EFFECT` away from it.
    With fewer than 6 pairs there is no such interval: both bounds are None and nothing is decided.
    """

    baseline: str
    candidate: str
    pairs: int
    median: float
    quartile_low: float
    quartile_high: float
    low: float | None
    high: float | None
    statement: Statement

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "PairedRatio":
        return cls(**data)


def measure_interleaved(
    sides: Mapping[str, Callable[[], object]],
    *,
    runs: int = 50,
    warmup: int = 5,
    pause_seconds: float = 0.005,
    limit_seconds: float | None = None,
    on_round: Callable[[int, int], None] | None = None,
    clock: Callable[[], float] | None = None,
) -> dict[str, tuple[float, ...]]:
    """Call every side once per round; the raw times in seconds, `runs` of them per side, in round order.

    The first `warmup` rounds are not kept. After `limit_seconds` no further round starts once LEAST_RUNS are kept, and
    warming up ends after a tenth of it; the limit looks at the clock alone, never at who is ahead.
    `clock` says the time in seconds, without one `time.perf_counter`: `time.process_time`, of sides that run on one thread,
    leaves out what other processes take of the core.
    `on_round(done, total)` is called after each round, outside of the timed part. Sample i of every side belongs to
    the same round, which is what :func:`compare` pairs.
    Raises InputError when there is nothing to time.
    """
    if not sides or runs < 1 or warmup < 0 or pause_seconds < 0:
        raise InputError(
            f"nothing to time with {len(sides)} sides, runs={runs}, warmup={warmup}, "
            f"pause_seconds={pause_seconds}; give at least one side, one run and no negative number"
        )
    rounds: list[dict[str, float]] = []
    limit = math.inf if limit_seconds is None else limit_seconds
    start, warm = time.perf_counter(), 0
    with _garbage_collection_off():
        while len(rounds) - warm < runs:
            passed = time.perf_counter() - start
            if passed > limit and len(rounds) - warm >= min(runs, LEAST_RUNS):
                break
            rounds.append(
                {
                    name: _timed(call, pause_seconds, clock or time.perf_counter)
                    for name, call in sides.items()
                }
            )
            if len(rounds) <= warmup and passed <= _WARMUP_SHARE * limit:
                warm = len(rounds)
            if on_round is not None:
                on_round(len(rounds), warmup + runs)
    return {name: tuple(seconds[name] for seconds in rounds[warm:]) for name in sides}


def percentiles(samples: Sequence[float]) -> dict[str, float]:
    """`{"p50_seconds": ..., "p90_seconds": ..., "p95_seconds": ..., "p99_seconds": ...}`, interpolated."""
    if not samples:
        raise InputError("percentiles of 0 samples; measure at least one run")
    values = np.percentile(np.asarray(samples, dtype=np.float64), PERCENTILES)
    return {f"p{p}_seconds": float(v) for p, v in zip(PERCENTILES, values, strict=True)}


def compare(
    samples: Mapping[str, Sequence[float]], *, baseline: str, candidate: str, min_effect: float = MIN_EFFECT
) -> PairedRatio:
    """The ratio of two sides of one :func:`measure_interleaved` result. Unequal lengths are an InputError."""
    first, second = samples[baseline], samples[candidate]
    if len(first) != len(second) or not first:
        raise InputError(
            f"cannot pair {len(first)} samples of {baseline} with {len(second)} of {candidate}; "
            "measure both sides in the same rounds"
        )
    ratios = np.asarray(first, dtype=np.float64) / np.asarray(second, dtype=np.float64)
    quartile_low, median, quartile_high = (float(v) for v in np.percentile(ratios, (25, 50, 75)))
    low, high = median_interval(ratios)
    return PairedRatio(
        baseline=baseline,
        candidate=candidate,
        pairs=len(ratios),
        median=median,
        quartile_low=quartile_low,
        quartile_high=quartile_high,
        low=low,
        high=high,
        statement=_statement(median, low, high, min_effect),
    )


def median_interval(
    values: Sequence[float] | np.ndarray, confidence: float = 0.95
) -> tuple[float, float] | tuple[None, None]:
    """The narrowest symmetric pair of order statistics that covers the median with at least `confidence`.

    Exact for independent samples: the number of samples below the median is Binomial(n, 1/2). With fewer
    than 6 samples no pair reaches 95 % and the answer is (None, None).
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    count = len(ordered)
    rank = _sign_test_rank(count, confidence)
    if rank == 0:
        return None, None
    return float(ordered[rank - 1]), float(ordered[count - rank])


def _sign_test_rank(count: int, confidence: float) -> int:
    """Largest k with 1 - 2 P(Binomial(count, 1/2) < k) >= confidence; 0 when none has it."""
    tail, rank = 0.0, 0
    while rank < count // 2:
        tail += math.comb(count, rank) / 2**count
        if 1 - 2 * tail < confidence:
            break
        rank += 1
    return rank


def _statement(median: float, low: float | None, high: float | None, min_effect: float) -> Statement:
    if low is None or high is None:
        return "undecided"
    if low > 1 and median >= 1 + min_effect:
        return "faster"
    if high < 1 and median <= 1 - min_effect:
        return "slower"
    return "undecided"


def _timed(call: Callable[[], object], pause_seconds: float, clock: Callable[[], float]) -> float:
    time.sleep(pause_seconds)
    start = clock()
    call()
    return clock() - start


@contextmanager
def _garbage_collection_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
