"""Other engines beside the files of a run: peers.json, which the report shows."""

from collections.abc import Sequence
from pathlib import Path

from platon_compress.files import write_json
from platon_compress.measure.peers.compare import run_peer_benchmark
from platon_compress.measure.peers.result import PeerConfig
from platon_compress.pipeline.reporter import Reporter
from platon_compress.recipe import BenchSection

__all__ = ["PEERS_FILE", "measure_peers"]

PEERS_FILE = "peers.json"


def measure_peers(output: Path, bench: BenchSection, peers: Sequence[str], reporter: Reporter) -> None:
    """Measure `output/onnx` beside `peers`, one inference each in turn, and write PEERS_FILE.

    A peer that is not installed or fails is a warning and a line of the file. Raises InputError for a name that is none.
    """
    config = PeerConfig(
        batch=bench.batch,
        tokens=bench.tokens or PeerConfig.tokens,
        threads=bench.threads,
        runs=bench.runs,
        blocks=0,
        peers=tuple(peers),
    )
    with reporter.progress("  other engines") as progress:
        report = run_peer_benchmark(output / "onnx", config, progress=progress)
    write_json(output / PEERS_FILE, report.to_dict())
    for line in report.unavailable.values():
        reporter.warn(line)
