"""Members of a family that were trained but not finished: hollow points beside the files, never on the line.

Their metric is that of the selection split, which chose among them, and no file of theirs was shipped, verified or judged.
Their latency, as that of files, is a speed over dense applied to one dense latency: the speed that the bench stage measured
before another member took its place, or that was timed for the choice. Where that was at another size or with other threads
than the page's, it is predicted, and says so: the speed there times what the finished member gained between there and here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from platon_compress.budget import Figures
from platon_compress.errors import InputError
from platon_compress.files import read_json
from platon_compress.report.pareto.candidates import Setting, dense_seconds
from platon_compress.report.run_data import RunData
from platon_compress.schemas import require_kind
from platon_compress.scoring import Difference

__all__ = ["Member", "members_of"]

_CURE = "run the stage choose again"
_TIMED = {"measured": "by the bench stage", "expected": "for the choice"}


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of them.

    metric: a fraction, on `split`. change: against dense there, a fraction. speed, seconds, timed, disk_bytes: None where no
    file was ever written. predicted: whether the speed is that of another size or other threads, carried over.
    """

    run: str
    sparsity: float
    granularity: str
    split: str
    metric: float
    change: Difference
    speed: float | None
    seconds: float | None
    timed: str | None
    predicted: bool
    disk_bytes: int | None

    @property
    def label(self) -> str:
        """`runs/a: 70% zeros`."""
        what = "of the time removed" if self.granularity == "structured" else "zeros"
        return f"{self.run}: {self.sparsity:.0%} {what}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        change = self.change
        return {**vars(self), "change": [change.value, change.low, change.high]}


def members_of(runs: Sequence[RunData], setting: Setting) -> list[Member]:
    """Of every run that trained a family. Raises InputError for a family.json that is damaged."""
    found = []
    for run, dense in zip(runs, dense_seconds(runs, setting), strict=True):
        path = run.folder / "family.json"
        if not path.is_file():
            continue
        content = require_kind(read_json(path, _CURE), "family", str(path), _CURE)
        try:
            found += list(_members(run, content, setting, dense))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is no record of a family ({error!r:.80}); {_CURE}") from error
    return found


def _members(run: RunData, content: Mapping[str, Any], setting: Setting, dense: float) -> Iterator[Member]:
    alike = _timed_alike(run, content, setting)
    # the stage takes one where none meets the budget
    finished = run.stage("choose").get("sparsity", content["chosen"])
    gain = 1.0 if alike else _gain(run, content, finished, setting)
    for entry in content["candidates"]:
        if entry["sparsity"] == finished:
            continue
        timed, figures = _figures(entry)
        speed = None if figures is None or gain is None else figures.speedup * gain
        yield Member(
            run=run.folder.name,
            sparsity=float(entry["sparsity"]),
            granularity=str(content["granularity"]),
            split=str(content["split"]),
            metric=float(entry["value"]),
            change=_change(entry["drop"]),
            speed=speed,
            seconds=None if speed is None else dense / speed,
            timed=None if speed is None else _TIMED[str(timed)] if alike else _predicted(content),
            predicted=speed is not None and not alike,
            disk_bytes=None if figures is None else int(figures.size_bytes),
        )


def _figures(entry: Mapping[str, Any]) -> tuple[str | None, Figures | None]:
    """How a member was timed, the bench stage first, and what came out; nothing for one that never was."""
    return next(
        ((name, Figures.from_dict(entry[name])) for name in _TIMED if entry[name] is not None), (None, None)
    )


def _gain(run: RunData, content: Mapping[str, Any], finished: float | None, setting: Setting) -> float | None:
    """The finished member's speed over dense at the page's size, over that where it was timed; None if one is not known."""
    here = next(s for s in run.bench.settings if (s.batch, s.tokens) == setting).ratio("compressed", "dense")
    chosen = next((entry for entry in content["candidates"] if entry["sparsity"] == finished), None)
    _, there = (None, None) if chosen is None else _figures(chosen)
    return None if here is None or there is None else here.median / there.speedup


def _predicted(content: Mapping[str, Any]) -> str:
    """`predicted from batch 8, 128 tokens, 1 thread`."""
    threads = content["threads"]
    spoken = "" if threads is None else f", {threads} thread{'s' if threads > 1 else ''}"
    return f"predicted from batch {content['batch']}, {content['tokens']} tokens{spoken}"


def _timed_alike(run: RunData, content: Mapping[str, Any], setting: Setting) -> bool:
    """Whether the family was timed at the page's size, with as many threads as its files; pictures have one size."""
    batch, tokens = setting
    same_size = content["batch"] == batch and tokens in (None, content["tokens"])
    return bool(same_size and content["threads"] in (None, run.bench.environment.get("threads")))


def _change(drop: Mapping[str, Any]) -> Difference:
    """From points lost to a difference as a fraction."""
    value, low, high = (-float(drop[name]) / 100 for name in ("value", "high", "low"))
    return Difference(value=value + 0.0, low=low, high=high, paired=bool(drop["paired"]))
