"""Where the time of one inference goes, by operator, from ONNX Runtime's own profile.

    python benchmarks/node_profile.py FILE... [--tokens 128] [--batch 1] [--threads 1] [--runs 20]

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

from platon_compress.errors import InputError, PlatonError
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
    """The command line above."""
    parser = argparse.ArgumentParser(prog="node_profile")
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--runs", type=int, default=20)
    options = vars(parser.parse_args(arguments))
    try:
        for path in options.pop("files"):
            sys.stdout.write("\n".join([str(path), *profile_nodes(path, **options).lines(), ""]))
    except PlatonError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
