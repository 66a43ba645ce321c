"""Other engines, and a smaller dense model, beside the files of a run: peers.json, which the report shows."""

from collections.abc import Sequence

from platon_compress.files import write_json
from platon_compress.measure.peers.compare import run_peer_benchmark
from platon_compress.measure.peers.judged import JudgedRows
from platon_compress.measure.peers.result import EVERY_SECOND_LAYER, PeerConfig
from platon_compress.pipeline.smaller import smaller_files
from platon_compress.pipeline.verifying import CHOOSING_EXAMPLES, verification
from platon_compress.pipeline.workspace import Workspace
from platon_compress.report.words import metric_figure, metric_name

__all__ = ["PEERS_FILE", "measure_peers"]

PEERS_FILE = "peers.json"


def measure_peers(work: Workspace, peers: Sequence[str]) -> None:
    """Measure the run's files beside `peers`, one inference each in turn, and write PEERS_FILE.

    The metric of OpenVINO's models and of the smaller ones is that of the same rows as in parity.json. A peer that is not
    installed or fails is a warning and a line of the file. Raises InputError for a name that is none.
    """
    bench, reporter = work.recipe.bench, work.reporter
    config = PeerConfig(
        batch=bench.batch,
        tokens=bench.tokens or (work.sequence_length(),),
        threads=bench.threads or work.recipe.plan.threads,
        runs=bench.runs,
        blocks=0,
        peers=tuple(name for name in peers if name != EVERY_SECOND_LAYER),
    )
    rows = JudgedRows(
        evaluation=verification(work, "test"),
        calibration=verification(work, "validation", CHOOSING_EXAMPLES).batches,
    )
    others = smaller_files(work) if EVERY_SECOND_LAYER in peers else {}
    with reporter.progress("  other engines") as progress:
        report = run_peer_benchmark(work.folder.onnx, config, rows=rows, others=others, progress=progress)
    write_json(work.folder.path / PEERS_FILE, {**report.to_dict(), "export": _stamp(work)})
    for name, scores in report.scores.items():
        figure = metric_figure(scores.metric, scores.value)
        reporter.say(f"  {name}: {metric_name(scores.metric, work.task.name)} {figure}")
    for line in report.unavailable.values():
        reporter.warn(line)


def _stamp(work: Workspace) -> str | None:
    """Of the files that were measured: what is made anew has another one."""
    record = work.folder.record("export")
    return None if record is None else record.stamp
