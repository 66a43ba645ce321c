"""The process whose memory is measured: loads a model, runs it once, says so, and waits.

Started by memory.py with one argument, JSON {"path", "batch", "tokens", "threads"}. Prints the load time in seconds.
Nothing is imported here that serving does not need.
"""

import json
import sys
import time
from pathlib import Path

import platon_compress.export.session  # noqa: F401  # imports are not the model's load time
from platon_compress.measure.sessions import describe_inputs, make_inputs, open_on, read_config

__all__ = ["serve"]


def serve(request: str) -> None:
    """Load, run once, say so, wait until the parent closes the pipe."""
    settings = json.loads(request)
    path = Path(settings["path"])
    start = time.perf_counter()
    session = open_on(path, threads=settings["threads"])
    load_seconds = time.perf_counter() - start
    feed = make_inputs(
        describe_inputs(session),
        batch=settings["batch"],
        tokens=settings["tokens"],
        config=read_config(path.parent),
    )
    session.run(None, feed)
    sys.stdout.write(f"{load_seconds}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    serve(sys.argv[1])
