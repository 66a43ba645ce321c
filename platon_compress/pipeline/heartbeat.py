"""Progress where there is no terminal: a line a minute with the step, what is going on and the time left."""

import time
from collections.abc import Callable

__all__ = ["Heartbeat", "spoken_time"]

_EVERY_SECONDS = 60.0


class Heartbeat:
    """A `Progress` that writes a line when a minute has passed since the last one.

    The time left is that of the steps done since the first call, so that a resumed training is not thought fast.
    """

    def __init__(
        self, text: str, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._text = text.strip()
        self._write = write
        self._clock = clock
        self._last = self._start = clock()
        self._first: int | None = None

    def __call__(self, done: int, total: int, status: str = "") -> None:
        """See `platon_compress.progress.Progress`."""
        now = self._clock()
        if self._first is None or done < self._first:
            self._first, self._start = done, now
        if now - self._last < _EVERY_SECONDS:
            return
        self._last = now
        parts = [f"step {done:,} of {total:,}", status, self._left(done, total, now)]
        self._write(f"{self._text}: {', '.join(part for part in parts if part)}")

    def _left(self, done: int, total: int, now: float) -> str:
        first = self._first or 0
        if done <= first or total <= done:
            return ""
        return f"{spoken_time((now - self._start) / (done - first) * (total - done))} left"


def spoken_time(seconds: float) -> str:
    """Two units at most: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"
