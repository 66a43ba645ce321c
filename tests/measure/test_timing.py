import gc
import json
import time

import numpy as np
import pytest

from platon_compress.errors import InputError
from platon_compress.measure import timing
from platon_compress.measure.timing import (
    PairedRatio,
    compare,
    measure_interleaved,
    median_interval,
    percentiles,
)


def test_sides_are_interleaved_and_warmup_is_dropped():
    calls = []
    sides = {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}
    samples = measure_interleaved(sides, runs=3, warmup=2, pause_seconds=0)
    assert calls == ["a", "b"] * 5
    assert {name: len(values) for name, values in samples.items()} == {"a": 3, "b": 3}


def test_another_clock():
    ticks = iter(range(100))
    samples = measure_interleaved(
        {"a": lambda: None, "b": lambda: next(ticks)},
        runs=3,
        warmup=0,
        pause_seconds=0,
        clock=lambda: next(ticks),
    )
    assert samples == {"a": (1, 1, 1), "b": (2, 2, 2)}


def test_pause_is_not_timed(monkeypatch):
    now = [0.0]

    def passes(seconds):
        now[0] += seconds

    monkeypatch.setattr(timing.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(timing.time, "sleep", passes)
    samples = measure_interleaved({"a": lambda: passes(0.25)}, runs=3, warmup=0, pause_seconds=8.0)
    assert samples == {"a": (0.25, 0.25, 0.25)}
    assert now[0] == 3 * 8.25


def test_time_is_in_seconds():
    samples = measure_interleaved({"a": lambda: time.sleep(0.01)}, runs=2, warmup=0, pause_seconds=0)
    assert 0.009 < min(samples["a"]) < 5  # in milliseconds it would be 10 and more


def test_progress_counts_rounds():
    seen = []
    measure_interleaved(
        {"a": lambda: None}, runs=2, warmup=1, pause_seconds=0, on_round=lambda *args: seen.append(args)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_garbage_collection_is_back_after_an_error():
    def fail():
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        measure_interleaved({"a": fail}, runs=1)
    assert gc.isenabled()


@pytest.mark.parametrize("bad", [{"runs": 0}, {"warmup": -1}, {"pause_seconds": -1.0}])
def test_nothing_to_time_is_refused(bad):
    with pytest.raises(InputError, match="nothing to time"):
        measure_interleaved({"a": lambda: None}, **bad)


def test_no_side_is_refused():
    with pytest.raises(InputError, match="with 0 sides"):
        measure_interleaved({})


def test_percentiles_have_units_and_interpolate():
    assert percentiles([float(i) for i in range(101)]) == {
        "p50_seconds": 50.0,
        "p90_seconds": 90.0,
        "p95_seconds": 95.0,
        "p99_seconds": 99.0,
    }
    with pytest.raises(InputError, match="0 samples"):
        percentiles([])


def test_ratio_is_taken_pair_by_pair():
    dense = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    ratio = compare({"dense": dense, "fast": [t / 2 for t in dense]}, baseline="dense", candidate="fast")
    assert (ratio.median, ratio.low, ratio.high, ratio.pairs) == (2.0, 2.0, 2.0, 7)
    assert ratio.statement == "faster"
    reverse = compare({"dense": dense, "slow": [t * 2 for t in dense]}, baseline="dense", candidate="slow")
    assert reverse.statement == "slower"


def test_noise_around_one_is_undecided():
    rng = np.random.default_rng(0)
    sides = {"a": (1 + 0.1 * rng.random(200)).tolist(), "b": (1 + 0.1 * rng.random(200)).tolist()}
    assert compare(sides, baseline="a", candidate="b").statement == "undecided"


def test_tiny_but_certain_difference_is_undecided():
    assert compare({"a": [1.01] * 50, "b": [1.0] * 50}, baseline="a", candidate="b").statement == "undecided"


def test_few_pairs_decide_nothing():
    ratio = compare({"a": [2.0] * 5, "b": [1.0] * 5}, baseline="a", candidate="b")
    assert (ratio.low, ratio.high, ratio.statement) == (None, None, "undecided")


def test_unequal_lengths_are_refused():
    with pytest.raises(InputError, match="cannot pair 2 samples of a with 1 of b"):
        compare({"a": [1.0, 1.0], "b": [1.0]}, baseline="a", candidate="b")


def test_interval_covers_the_median_often_enough():
    rng = np.random.default_rng(1)
    draws = rng.exponential(size=(1000, 21))
    intervals = [median_interval(draw) for draw in draws]
    covered = sum(low <= np.log(2) <= high for low, high in intervals)
    assert covered >= 940


def test_ratio_round_trips_through_json():
    ratio = compare({"a": [2.0] * 5, "b": [1.0] * 5}, baseline="a", candidate="b")
    assert PairedRatio.from_dict(json.loads(json.dumps(ratio.to_dict()))) == ratio


def test_a_time_limit_leaves_at_least_twelve_rounds(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr(timing.time, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
    kept = measure_interleaved({"a": list, "b": list}, runs=50, warmup=5, limit_seconds=100.0)
    short = measure_interleaved({"a": list, "b": list}, runs=50, warmup=5, limit_seconds=1.0)
    free = measure_interleaved({"a": list, "b": list}, runs=50, warmup=5)
    # A round takes five ticks here: one to look at the limit and two per timed call.
    assert [len(samples) for samples in kept.values()] == [18, 18]
    assert [len(samples) for samples in short.values()] == [12, 12]
    assert len(free["a"]) == 50
    assert len(measure_interleaved({"a": list}, runs=3, limit_seconds=1.0)["a"]) == 3
