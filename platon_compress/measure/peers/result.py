"""The result of a benchmark against other engines, as data.

JSON schema (version 1, kind "peers"); raw samples are kept:

    environment, config
    compressed_bytes   of the file `compressed.onnx` that was measured
    engines      name -> {kind, model, version}
                   with disk_bytes where the metric was taken
    unavailable  name -> why it was not measured
    scores       name -> the metric on the run's own rows, as in parity.json; of engines that are no file of the run
    settings     list of {batch, tokens, interleaved, isolated, concurrent, memory, comparisons}
      interleaved  name -> {seconds: [...]}: one inference per round and engine, sample i is round i
      isolated     name -> {blocks: [{load_seconds, first_seconds, seconds: [...]}, ...]}: each block is a fresh
                   process with nothing else running
      concurrent   name -> {blocks: [{per_second, seconds: [[...] per worker], workers_bytes}, ...]}: `workers`
                   processes of one thread each, at once, without pauses
      memory       name -> {rss_bytes, pss_bytes, peak_bytes} of the interleaved process, above its imports
      comparisons  list of {baseline, candidate, interleaved (a ratio as in timing.py), isolated, concurrent,
                   statement, line}: isolated and concurrent are medians over blocks, null where there are none;
                   above 1 the candidate is faster. statement: "faster", "slower", "undecided", or "disagree" when
                   the ways do not lie on the same side of 1; then there is no verdict.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from platon_compress.errors import InputError
from platon_compress.measure.timing import PairedRatio, compare
from platon_compress.schemas import stamped
from platon_compress.scoring import Scores

__all__ = [
    "EVERY_SECOND_LAYER",
    "PEERS",
    "Comparison",
    "PeerConfig",
    "PeerReport",
    "PeerSetting",
    "checked_peers",
    "compare_ways",
]


PEERS = ("torch", "openvino", "openvino-int8", "deepsparse")
"""Other engines."""
EVERY_SECOND_LAYER = "every-second-layer"
"""No engine, but what anybody can have for half of the time; only a run can train it."""


def checked_peers(names: Sequence[str], known: Sequence[str] = PEERS) -> tuple[str, ...]:
    """The names themselves. Raises InputError for one that is none of `known`."""
    if unknown := set(names) - set(known):
        raise InputError(f"there is no peer {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    return tuple(names)


@dataclass(frozen=True, kw_only=True)
class PeerConfig:
    """What is measured against other engines.

    runs: interleaved rounds, and inferences per isolated block. blocks: isolated and concurrent blocks per
    engine, 0: only in turn. workers: concurrent processes, one thread each, for worker_seconds per block.
    peers: the engines beside ONNX Runtime. pythons: peer ("openvino", "deepsparse", "torch") to the Python of an
    environment that holds it.
    """

    batch: tuple[int, ...] = (1,)
    tokens: tuple[int, ...] = (128,)
    runs: int = 30
    warmup: int = 3
    blocks: int = 3
    workers: int = 4
    worker_seconds: float = 3.0
    threads: int | None = None
    pause_seconds: float = 0.03
    seed: int = 0
    peers: tuple[str, ...] = PEERS
    pythons: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("batch", "tokens"):
            sizes = tuple(getattr(self, name))
            object.__setattr__(self, name, sizes)
            if not sizes or any(size < 1 for size in sizes):
                raise InputError(f"{name} must hold sizes >= 1, got {list(sizes)}; for example {name}=(1,)")
        object.__setattr__(self, "peers", checked_peers(self.peers))
        for name, least in (("runs", 1), ("blocks", 0), ("workers", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; give at least {least}")
        if self.warmup < 0 or self.pause_seconds < 0 or self.worker_seconds <= 0:
            raise InputError(
                f"warmup={self.warmup}, pause_seconds={self.pause_seconds} and "
                f"worker_seconds={self.worker_seconds} cannot be; give no negative number, and workers some time"
            )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {name: list(getattr(self, name)) for name in ("batch", "tokens", "peers")}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two engines in one setting, three ways; see the schema above."""

    baseline: str
    candidate: str
    interleaved: PairedRatio
    isolated: float | None
    concurrent: float | None
    statement: str

    @property
    def line(self) -> str:
        """One line for people."""
        named = {
            "interleaved": self.interleaved.median,
            "isolated": self.isolated,
            "concurrent": self.concurrent,
        }
        ways = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in named.items() if ratio is not None)
        said = {
            "disagree": "no verdict, the ways of measuring disagree",
            "undecided": "no measurable difference",
        }.get(self.statement, self.statement)
        return f"{self.candidate} against {self.baseline}: {said} ({ways})"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"line": self.line}


@dataclass(frozen=True, kw_only=True)
class PeerSetting:
    """All engines at one batch size and number of tokens; raw samples as in the schema."""

    batch: int
    tokens: int | None
    interleaved: Mapping[str, Any]
    isolated: Mapping[str, Any]
    concurrent: Mapping[str, Any]
    memory: Mapping[str, Any]
    comparisons: tuple[Comparison, ...]

    def to_dict(self) -> dict[str, Any]:
        raw = {name: getattr(self, name) for name in ("batch", "tokens", "interleaved", "isolated")}
        raw |= {"concurrent": self.concurrent, "memory": self.memory}
        return raw | {"comparisons": [comparison.to_dict() for comparison in self.comparisons]}


@dataclass(frozen=True, kw_only=True)
class PeerReport:
    """See the schema at the top of this module."""

    environment: Mapping[str, Any]
    config: PeerConfig
    engines: Mapping[str, Any]
    unavailable: Mapping[str, str]
    settings: tuple[PeerSetting, ...]
    compressed_bytes: int
    scores: Mapping[str, Scores] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        content = {
            "environment": dict(self.environment),
            "config": self.config.to_dict(),
            "compressed_bytes": self.compressed_bytes,
            "engines": dict(self.engines),
            "unavailable": dict(self.unavailable),
            "scores": {name: scores.to_dict() for name, scores in self.scores.items()},
            "settings": [setting.to_dict() for setting in self.settings],
        }
        return stamped("peers", content)

    def lines(self) -> list[str]:
        """What a terminal prints: every comparison, the memory, and every peer that is missing."""
        said = [f"{name}: {scores.metric} {scores.value:.4f}" for name, scores in self.scores.items()]
        for setting in self.settings:
            tokens = f", {setting.tokens} tokens" if setting.tokens else ""
            said += [f"batch {setting.batch}{tokens}: {entry.line}" for entry in setting.comparisons]
            said += [f"batch {setting.batch}{tokens}: {line}" for line in _memory_lines(setting, self.config)]
        return said + list(self.unavailable.values())


def compare_ways(
    baseline: str,
    candidate: str,
    interleaved: Mapping[str, Any],
    isolated: Mapping[str, Any],
    concurrent: Mapping[str, Any],
) -> Comparison:
    """The ratios of two engines, and a statement only where all of them lie on one side of 1."""
    samples = {name: interleaved[name]["seconds"] for name in (baseline, candidate)}
    paired = compare(samples, baseline=baseline, candidate=candidate)
    alone = _median_ratio(
        [median(block["seconds"]) for block in isolated[baseline]["blocks"]],
        [median(block["seconds"]) for block in isolated[candidate]["blocks"]],
    )
    together = _median_ratio(
        [block["per_second"] for block in concurrent[candidate]["blocks"]],
        [block["per_second"] for block in concurrent[baseline]["blocks"]],
    )
    sides = {ratio > 1 for ratio in (paired.median, alone, together) if ratio is not None}
    return Comparison(
        baseline=baseline,
        candidate=candidate,
        interleaved=paired,
        isolated=alone,
        concurrent=together,
        statement=paired.statement if len(sides) == 1 else "disagree",
    )


def _memory_lines(setting: PeerSetting, config: PeerConfig) -> Iterator[str]:
    for name, entry in setting.memory.items():
        blocks = setting.concurrent.get(name, {}).get("blocks", ())
        together = [b["workers_bytes"] for b in blocks if b["workers_bytes"] is not None]
        if "rss_bytes" in entry and together:
            yield (
                f"{name} takes {entry['rss_bytes'] / 1e6:.0f} MB, at most {entry['peak_bytes'] / 1e6:.0f} MB; "
                f"{config.workers} workers together {median(together) / 1e6:.0f} MB"
            )


def _median_ratio(above: Sequence[float], below: Sequence[float]) -> float | None:
    return median(a / b for a, b in zip(above, below, strict=True)) if above else None
