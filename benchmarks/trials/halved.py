"""What anybody can have for half of the time: the model of every second layer, as the product trains and times it."""

from collections.abc import Mapping
from typing import Any

from trials.grid import Control

from platon_compress.errors import InputError
from platon_compress.measure.peers.compare import BASELINE, SMALLER, SMALLER_INT8
from platon_compress.measure.peers.result import EVERY_SECOND_LAYER
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.runner import bench_again
from platon_compress.pipeline.workspace import Workspace
from platon_compress.report.peers import read_peers

__all__ = ["HALVED", "beside"]

HALVED: Mapping[Control, str] = {"every_second_layer": SMALLER, "every_second_layer_int8": SMALLER_INT8}
"""Control to what the comparison of engines calls it."""


def beside(work: Workspace, name: str) -> dict[str, Any]:
    """{"scores", "steps", "speeds"} of one beside a complete run: on its test rows, and in turn with its files.

    Raises InputError where it could not be measured.
    """
    run = work.folder.path
    if name not in read_peers(run).get("scores", {}):
        bench_again(run, {}, work.reporter, peers=(EVERY_SECOND_LAYER,))
    peers = read_peers(run)
    if name not in peers.get("scores", {}):
        raise InputError(f"{name} could not be measured beside {run}, see above; leave the control out")
    return {
        "scores": peers["scores"][name],
        "steps": RunFolder.open(run, work.recipe.kind).result(EVERY_SECOND_LAYER)["steps"],
        "speeds": [_speed(setting, name) for setting in peers["settings"]],
    }


def _speed(setting: Mapping[str, Any], name: str) -> dict[str, Any]:
    pair = next(c for c in setting["comparisons"] if (c["baseline"], c["candidate"]) == (BASELINE, name))
    return {"batch": setting["batch"], "tokens": setting["tokens"], "ratio": pair["interleaved"]}
