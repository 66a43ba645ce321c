"""Off a terminal: a line a minute, with the step, what is going on and the time left."""

import pytest

from platon_compress.pipeline.heartbeat import Heartbeat, spoken_time


class _Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def _beats(steps, seconds, first=1, total=1000):
    clock, lines = _Clock(), []
    beat = Heartbeat("  prune", lines.append, clock)
    for done in range(first, first + steps):
        clock.now += seconds
        beat(done, total, f"loss {done / 10:.1f}")
    return lines


def test_a_line_a_minute_and_no_more():
    lines = _beats(steps=150, seconds=2)
    assert len(lines) == 5
    assert lines[0] == "prune: step 30 of 1,000, loss 3.0, 32 min left"
    assert lines[1] == "prune: step 60 of 1,000, loss 6.0, 31 min left"


def test_short_work_says_nothing():
    assert _beats(steps=50, seconds=1) == []


def test_a_resumed_training_is_not_thought_fast():
    """Rule: 500 steps were done by an earlier process; the time left is that of the steps seen, two seconds each."""
    assert _beats(steps=31, seconds=2, first=501)[0] == "prune: step 530 of 1,000, loss 53.0, 16 min left"


def test_a_first_step_of_minutes_names_no_time_left():
    assert _beats(steps=1, seconds=90) == ["prune: step 1 of 1,000, loss 0.1"]


def test_the_last_step_has_no_time_left():
    assert _beats(steps=2, seconds=70, total=2)[-1] == "prune: step 2 of 2, loss 0.2"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3, "3 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min"), (187_200, "2 d 4 h")],
)
def test_times_have_two_units_at_most(seconds, text):
    assert spoken_time(seconds) == text
