"""Rivals that are no files of a run, as points beside them: OpenVINO's models and the dense model of every second layer.

They are there where `bench model --peers` has measured both, the metric on the rows of parity.json and the latency in turn
with our files; as for these the latency is the speed over ONNX Runtime's dense, applied to one dense latency.
"""

from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

from platon_compress.errors import MISFITS, InputError
from platon_compress.measure.peers.compare import (
    BASELINE,
    INT8,
    OPENVINO,
    OPENVINO_INT8,
    OURS,
    OURS_FLOAT32,
    OURS_INT8,
    SMALLER,
    SMALLER_FILES,
    SMALLER_INT8,
)
from platon_compress.measure.peers.result import EVERY_SECOND_LAYER
from platon_compress.report.pareto.candidates import Candidate, Setting, dense_seconds
from platon_compress.report.peers import read_peers
from platon_compress.report.run_data import RunData
from platon_compress.report.tables import format_milliseconds
from platon_compress.report.words import RIVALS
from platon_compress.scoring import Scores

__all__ = ["rival_notes", "rivals_of"]

_VARIANTS = {
    OPENVINO: "openvino",
    OPENVINO_INT8: "openvino_int8",
    SMALLER: "every_second_layer",
    SMALLER_INT8: "every_second_layer_int8",
}
_CURE = "measure again with `bench model --peers`"
_OWN = (BASELINE, INT8, OURS, OURS_FLOAT32, OURS_INT8)
_ASKED = {OPENVINO_INT8: "openvino-int8", SMALLER: EVERY_SECOND_LAYER}
"""What a page should have, and the peer's name on the command line."""


def rivals_of(runs: Sequence[RunData], setting: Setting) -> list[Candidate]:
    """Of every run that has some at `setting`; the same metric of the same rival of several runs stands once.

    Raises InputError for a peers.json that is damaged.
    """
    reference = runs[0].dense_metric
    found: dict[tuple[str, float], Candidate] = {}
    for run, dense in zip(runs, dense_seconds(runs, setting), strict=True):
        try:
            for point in _rivals(run, setting, None if reference is None else reference.scores, dense):
                found.setdefault((point.variant, point.metric), point)
        except MISFITS as error:
            raise InputError(
                f"{run.folder / 'peers.json'} is no result of peers ({error!r:.80}); {_CURE}"
            ) from error
    return list(found.values())


def rival_notes(runs: Sequence[RunData], setting: Setting, rivals: Sequence[Candidate]) -> list[str]:
    """A line for each rival that is no point: why not, or what it took without its metric."""
    said = [line for run in runs for line in _unscored(run, setting)]
    shown = {point.variant for point in rivals}
    for engine, peer in _ASKED.items():
        if _VARIANTS[engine] in shown:
            continue
        reasons = (read_peers(run.folder).get("unavailable", {}).get(engine) for run in runs)
        asked = f"{RIVALS[_VARIANTS[engine]]} was not measured; use bench model -o RUN --peers {peer}"
        said.append(next(filter(None, reasons), asked))
    return said


def _rivals(run: RunData, setting: Setting, reference: Scores | None, dense: float) -> Iterator[Candidate]:
    peers = read_peers(run.folder)
    seconds = _seconds(peers, setting)
    for name, kept in peers.get("scores", {}).items():
        if name not in seconds or name not in _VARIANTS:
            continue
        scores, speed = Scores.from_dict(kept), median(seconds[BASELINE]) / median(seconds[name])
        variant = _VARIANTS[name]
        yield Candidate(
            run=run.folder.name,
            label=f"{run.folder.name}: {RIVALS[variant]}",
            file=str(run.folder / SMALLER_FILES.get(name, "onnx/dense.onnx")),
            variant=variant,
            metric=scores.value,
            change=None if reference is None else scores.minus(reference),
            speed=speed,
            seconds=dense / speed,
            disk_bytes=int(peers["engines"][name]["disk_bytes"]),
        )


def _seconds(peers: Mapping[str, Any], setting: Setting) -> dict[str, list[float]]:
    """What each engine took at `setting`; empty where that was not measured."""
    for entry in peers.get("settings", ()):
        if (entry["batch"], entry["tokens"]) == setting:
            return {name: taken["seconds"] for name, taken in entry["interleaved"].items()}
    return {}


def _unscored(run: RunData, setting: Setting) -> Iterator[str]:
    peers = read_peers(run.folder)
    scored = peers.get("scores", {})
    for name, seconds in _seconds(peers, setting).items():
        if name not in scored and name not in _OWN:
            yield f"{run.folder.name}: {name} takes {format_milliseconds(median(seconds))} ms; its metric was not measured"
