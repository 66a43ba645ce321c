"""What a machine run is made of: parts by priority, each a list of cells that take about the seconds they are given."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platon_compress.measure.environment import usable_cores
from platon_compress.measure.timing import compare, measure_interleaved

__all__ = ["Cell", "Part", "Setup", "timed"]

_THREADS = (1, 16, 4, 8, 2)  # by value: the ends first


@dataclass(frozen=True, kw_only=True)
class Setup:
    """Where and how large: `models` keeps exported files between calls, `tiny` is for trying the script out.

    device: of the parts that need an accelerator; their logic runs on "cpu" too, which the tests do.
    """

    models: Path
    tiny: bool = False
    device: str = "cuda"

    @property
    def threads(self) -> tuple[int, ...]:
        """Thread counts that this process has the cores for, the most telling first."""
        cores = usable_cores()
        return tuple(count for count in _THREADS if count <= cores) or (1,)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One measurement: `run(seconds)` takes about so long, preparation not counted, and returns JSON-able content."""

    name: str
    run: Callable[[float], dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Part:
    """Cells that belong together, the most valuable first. `share` is its part of the minutes, against the others'.

    cells: cheap to call; heavy packages are imported by the cells. unavailable: why nothing of it can run here, or None.
    """

    name: str
    title: str
    share: float
    cells: Callable[[Setup], tuple[Cell, ...]]
    unavailable: Callable[[Setup], str | None] = lambda setup: None


def timed(
    sides: Mapping[str, Callable[[], object]],
    seconds: float,
    baseline: str,
    *,
    least: int = 6,
    most: int = 50,
    pause_seconds: float = 0.005,
) -> dict[str, Any]:
    """All sides in turn for about `seconds`: raw samples, and everything against `baseline`.

    Never fewer than `least` rounds: 6 give an interval of 95 %.
    """
    for call in sides.values():
        call()
    started = time.perf_counter()
    for call in sides.values():
        call()
    round_seconds = time.perf_counter() - started + pause_seconds * len(sides)
    runs = max(least, min(most, int(seconds / round_seconds)))
    samples = measure_interleaved(sides, runs=runs, warmup=1, pause_seconds=pause_seconds)
    others = [name for name in sides if name != baseline]
    return {
        "seconds": {name: list(values) for name, values in samples.items()},
        "ratios": [compare(samples, baseline=baseline, candidate=name).to_dict() for name in others],
    }
