"""When N threads are done with the work items of one loop, each taking the next item as soon as it is free.

That is what the loops of core/linear.cpp and core/attention.cpp do: items in order, packing of a panel shared by
whoever needs the panel, the norm of a panel by whoever brings its last sums, and a barrier at the end. Not in it: what
threads cost each other in caches, in memory and in clock rate.
"""

import heapq
from dataclasses import dataclass
from statistics import fmean

__all__ = ["Ended", "Loop", "simulate"]


@dataclass(frozen=True, kw_only=True)
class Loop:
    """One loop over work items, with its costs in seconds.

    name       of the layer, or "attention"
    before     what the caller does alone, before the loop
    items      of each item, in the order in which they are taken
    per_panel  items of one panel, next to each other
    packing    of each panel, by the threads that take its items; 0 where the caller has packed
    tiles      the parts that the packing of a panel is shared in
    closing    of each panel, by the thread that finishes the last of its items
    """

    name: str
    before: float
    items: tuple[float, ...]
    per_panel: int
    packing: float = 0.0
    tiles: int = 1
    closing: float = 0.0

    @property
    def panels(self) -> int:
        """Groups of items that share what is packed."""
        return -(-len(self.items) // self.per_panel)

    @property
    def seconds(self) -> float:
        """With one thread."""
        return self.before + self.shared_seconds

    @property
    def shared_seconds(self) -> float:
        """Of `seconds`, what threads share."""
        return sum(self.items) + self.panels * (self.packing + self.closing)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """Of one loop with `threads` threads, in seconds: until all are done, and how long each worked."""

    threads: int
    seconds: float
    busy: tuple[float, ...]

    @property
    def balance(self) -> float:
        """The longest thread's work over the mean: 1 where all have the same."""
        return max(self.busy) / fmean(self.busy)

    @property
    def waits(self) -> float:
        """The share of the loop that threads do not work: late, waiting for a panel, and at the end for the last one."""
        return 1 - sum(self.busy) / (self.threads * self.seconds)


def simulate(loop: Loop, threads: int, late: float = 0.0) -> Ended:
    """The loop itself, without what comes before it; all but the caller come `late` seconds after its begin."""
    return _Simulation(loop, threads, late).run()


class _Simulation:
    """Threads by the time at which each is free next. Of those that are free at one time the lowest number is first."""

    def __init__(self, loop: Loop, threads: int, late: float) -> None:
        self.loop = loop
        self.free = [(late if thread else 0.0, thread) for thread in range(threads)]
        self.busy = [0.0] * threads
        self.holds: list[int | None] = [None] * threads  # an item whose panel may have to be packed
        self.works: list[int | None] = [None] * threads  # an item that is computed
        self.taken = 0
        self.tiles = [loop.tiles if loop.packing else 0] * loop.panels
        self.ready = [0.0] * loop.panels
        self.open = self._items_of_panels()
        self.end = 0.0

    def run(self) -> Ended:
        while self.free:
            now, thread = heapq.heappop(self.free)
            if not self._closes(now, thread):
                self._takes(now, thread)
        return Ended(threads=len(self.busy), seconds=self.end, busy=tuple(self.busy))

    def _items_of_panels(self) -> list[int]:
        count, whole = len(self.loop.items), self.loop.per_panel
        return [min(whole, count - first) for first in range(0, count, whole)]

    def _work(self, start: float, thread: int, seconds: float) -> None:
        self.busy[thread] += seconds
        self.end = max(self.end, start + seconds)
        heapq.heappush(self.free, (start + seconds, thread))

    def _closes(self, now: float, thread: int) -> bool:
        """Whether the item that the thread has computed was the panel's last, so that the thread closes the panel."""
        item, self.works[thread] = self.works[thread], None
        if item is None:
            return False
        panel = item // self.loop.per_panel
        self.open[panel] -= 1
        if self.open[panel] or not self.loop.closing:
            return False
        self._work(now, thread, self.loop.closing)
        return True

    def _takes(self, now: float, thread: int) -> None:
        """The next item, or of the one that the thread holds the next tile of its panel, or the item itself."""
        if self.holds[thread] is None:
            if self.taken == len(self.loop.items):
                return
            self.holds[thread], self.taken = self.taken, self.taken + 1
        item = self.holds[thread] or 0
        panel = item // self.loop.per_panel
        if self.tiles[panel]:
            self.tiles[panel] -= 1
            seconds = self.loop.packing / self.loop.tiles
            self.ready[panel] = max(self.ready[panel], now + seconds)
            self._work(now, thread, seconds)
            return
        self.holds[thread], self.works[thread] = None, item
        self._work(max(now, self.ready[panel]), thread, self.loop.items[item])
