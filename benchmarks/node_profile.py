"""Where the time of one inference goes, by operator, from ONNX Runtime's own profile.

    python benchmarks/node_profile.py
    python benchmarks/node_profile.py MODEL.onnx... --tokens 128 --batch 1 --threads 1

Without files: MiniLM-L6 with random masks, of the study targets.py, dense and 90 % sparse.
A profile costs time itself (a few microseconds per node): it says where the time goes, not how long a run takes.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from study import MODELS, run_study, study_parser
from targets import export_random, random_stem, target_named

from platon_compress.errors import InputError
from platon_compress.measure.sessions import describe_inputs, make_inputs, read_config

__all__ = ["NodeProfile", "main", "profile_nodes"]


@dataclass(frozen=True)
class NodeProfile:
    """One inference: operator -> median seconds, and how many nodes of it ran.

    wall_seconds: median of the whole run, with what lies between the nodes.
    """

    seconds: Mapping[str, float]
    nodes: Mapping[str, int]
    wall_seconds: float

    def lines(self) -> Iterator[str]:
        """A table, the dearest operator first."""
        for name in sorted(self.seconds, key=self.seconds.__getitem__, reverse=True):
            yield f"{1e3 * self.seconds[name]:9.3f} ms  {self.nodes[name]:4d} x {name}"
        yield f"{1e3 * sum(self.seconds.values()):9.3f} ms  all nodes; whole run {1e3 * self.wall_seconds:.3f} ms"


def profile_nodes(
    path: Path, *, batch: int, tokens: int | None, threads: int | None, runs: int = 20, warmup: int = 3
) -> NodeProfile:
    """Profile `path` on random inputs. Raises InputError when the file does not load or `runs` is below 1."""
    if runs < 1:
        raise InputError(f"runs must be >= 1, got {runs}; 20 give a steady median")
    events = _events(path, batch, tokens, threads, warmup + runs)
    starts = [event for event in events if event.get("name") == "model_run"][warmup:]
    per_run: list[defaultdict[str, float]] = [defaultdict(float) for _ in starts]
    nodes: defaultdict[str, int] = defaultdict(int)
    for event in events:
        if event.get("cat") != "Node" or not event["name"].endswith("_kernel_time"):
            continue
        run = _run_of(event, starts)
        if run is not None:
            per_run[run][event["args"]["op_name"]] += event["dur"] * 1e-6
            nodes[event["args"]["op_name"]] += 1
    return NodeProfile(
        seconds={name: statistics.median(run[name] for run in per_run) for name in nodes},
        nodes={name: count // len(starts) for name, count in nodes.items()},
        wall_seconds=statistics.median(event["dur"] * 1e-6 for event in starts),
    )


def _run_of(event: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> int | None:
    """Index of the run in which `event` happened; None in the warm-up."""
    for index, start in enumerate(starts):
        if start["ts"] <= event["ts"] <= start["ts"] + start["dur"]:
            return index
    return None


def _events(path: Path, batch: int, tokens: int | None, threads: int | None, runs: int) -> list[Any]:
    """ONNX Runtime's trace of `runs` inferences."""
    import onnxruntime

    from platon_compress.export.session import open_session, session_options

    options = session_options(threads=threads)
    options.enable_profiling = True
    feed = make_inputs(
        describe_inputs(open_session(path, threads=1)),
        batch=batch,
        tokens=tokens,
        config=read_config(path.parent),
    )
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, feed)
        return list(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")))


def main(arguments: Sequence[str]) -> int:
    """The command line above; prints, and writes nothing but the models it needs."""
    parser = study_parser(__doc__)
    parser.add_argument("files", nargs="*", type=Path, help="ONNX files")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=20)
    return run_study(_profile, parser, arguments)


def _profile(options: argparse.Namespace) -> Iterator[str]:
    files = options.files
    if not files:
        folder = export_random(target_named("minilm-l6"), 0.9, MODELS / random_stem("minilm-l6", 0.9))
        files = [folder / "dense.onnx", folder / "compressed.onnx"]
    for path in files:
        profile = profile_nodes(
            path, batch=options.batch, tokens=options.tokens, threads=options.threads, runs=options.runs
        )
        yield str(path)
        yield from profile.lines()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
