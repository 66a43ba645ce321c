"""Cold start of one session in a fresh process: load time, first inference, memory.

`python -P -m platon_compress.measure.session_probe '{"path": ..., ...}'` prints one line of JSON.
A fresh process is the only fair place: in a process that already ran a session, memory pools are warm and
freed pages are reused.
"""

import contextlib
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.measure.sessions import PROVIDERS, describe_inputs, make_inputs, open_on, read_config

__all__ = ["ColdStart", "count_executed_nodes", "probe_session"]


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """One fresh process. Memory is resident memory above that of the process before the session (imports
    done); None where the system does not tell (only Linux does).

    session_bytes: after load and one inference. peak_bytes: the highest in between.
    executed_nodes: provider to operator to count, only when asked for.
    """

    load_seconds: float
    first_seconds: float
    session_bytes: int | None
    peak_bytes: int | None
    executed_nodes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def probe_session(
    path: str | Path,
    *,
    batch: int,
    tokens: int | None,
    threads: int | None = None,
    device: str = "cpu",
    count_nodes: bool = False,
    timeout_seconds: float = 600,
) -> ColdStart:
    """Load and run `path` once in a process of its own. Raises InputError when that process fails."""
    request = {
        "path": str(Path(path).resolve()),
        "batch": batch,
        "tokens": tokens,
        "threads": threads,
        "device": device,
        "count_nodes": count_nodes,
    }
    # -P: without it the working folder comes first on the path and a checkout would shadow the package.
    command = [sys.executable, "-P", "-m", "platon_compress.measure.session_probe", json.dumps(request)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_seconds)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{path} took over {timeout_seconds:.0f} s to load and run; choose other sizes"
        ) from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(
            f"a fresh process could not load and run {path} ({lines[-1][:300]}); export it again"
        )
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))


def count_executed_nodes(
    path: str | Path, *, batch: int, tokens: int | None, threads: int | None, device: str
) -> dict[str, dict[str, int]]:
    """Operators that really ran in one inference, by provider, from ONNX Runtime's profile.

    This, and not the file, tells whether our operators ran natively: without our library ONNX Runtime
    replaces it by standard operators.
    """
    from platon_compress.export.session import open_session, session_options

    options = session_options(threads=threads)
    options.enable_profiling = True
    with tempfile.TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = open_session(path, options=options, providers=list(PROVIDERS[device]))
        session.run(None, _feed(session, Path(path), batch, tokens))
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    counts: dict[str, Counter[str]] = {}
    for event in events:
        if event.get("cat") == "Node" and event.get("name", "").endswith("_kernel_time"):
            provider = event["args"].get("provider", "unknown")
            counts.setdefault(provider, Counter())[event["args"]["op_name"]] += 1
    return {provider: dict(sorted(counter.items())) for provider, counter in sorted(counts.items())}


def _feed(session: Any, path: Path, batch: int, tokens: int | None) -> dict[str, Any]:
    config = read_config(path.parent)
    return make_inputs(describe_inputs(session), batch=batch, tokens=tokens, config=config)


def _cold_start(path: Path, batch: int, tokens: int | None, threads: int | None, device: str) -> ColdStart:
    import platon_compress.export.session  # noqa: F401  # imports, onnxruntime's too, are not the model's cost

    gc.collect()
    _reset_peak()
    before = _memory_bytes("VmRSS")
    start = time.perf_counter()
    session = open_on(path, threads=threads, device=device)
    loaded = time.perf_counter()
    feed = _feed(session, path, batch, tokens)
    ready = time.perf_counter()
    session.run(None, feed)
    done = time.perf_counter()
    return ColdStart(
        load_seconds=loaded - start,
        first_seconds=done - ready,
        session_bytes=_above(_memory_bytes("VmRSS"), before),
        peak_bytes=_above(_memory_bytes("VmHWM"), before),
    )


def _reset_peak() -> None:
    # Some containers forbid it; the peak then also covers the imports, which are smaller than a session.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _memory_bytes(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(found[0]) * 1024 if found else None


def _above(value: int | None, base: int | None) -> int | None:
    return None if value is None or base is None else max(0, value - base)


def _main(arguments: list[str]) -> int:
    request = json.loads(arguments[0])
    count_nodes = request.pop("count_nodes")
    request["path"] = Path(request["path"])
    result = asdict(_cold_start(**request))
    if count_nodes:
        result["executed_nodes"] = count_executed_nodes(**request)
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
