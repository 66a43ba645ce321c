"""The parent's side of an engine in a process of its own (worker.py)."""

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from platon_compress.errors import PlatonError

__all__ = ["Engine", "EngineFailedError", "EngineProcess"]

_WORKER = Path(__file__).with_name("worker.py")


class EngineFailedError(PlatonError):
    """An engine did not start, answer or run; the message is its line in the result."""


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What to run: `kind` is a key of worker.py, `model` its file, `python` the interpreter that holds it.

    pin_threads: of ONNX Runtime; other engines do as they always do. calibration, prepared: of 8-bit engines, see worker.py.
    """

    name: str
    kind: str
    model: Path
    python: Path = Path(sys.executable)
    device: str = "cpu"
    pin_threads: bool = True
    calibration: Path | None = None
    prepared: Path | None = None


class EngineProcess:
    """A started engine. Use as a context manager: the process ends with it, whatever happens."""

    def __init__(
        self,
        engine: Engine,
        feed: Path,
        *,
        threads: int,
        any_size: bool = False,
        timeout_seconds: float = 600,
    ) -> None:
        """Start, load and run once; `any_size`: for batches of other sizes than the feed's too.

        Raises EngineFailedError with the engine's own first line.
        """
        self._engine, self._timeout_seconds = engine, timeout_seconds
        request = {
            "engine": engine.kind,
            "model": str(engine.model.resolve()),
            "feed": str(feed.resolve()),
            "threads": threads,
            "device": engine.device,
            "pin_threads": engine.pin_threads,
            "any_size": any_size,
            "calibration": engine.calibration and str(engine.calibration.resolve()),
            "prepared": engine.prepared and str(engine.prepared.resolve()),
        }
        self._process = self._start([str(engine.python), str(_WORKER), json.dumps(request)])
        try:
            self.started = self._read()
        except BaseException:
            self.close()
            raise

    def _start(self, command: list[str]) -> "subprocess.Popen[str]":
        pipe, silent = subprocess.PIPE, subprocess.DEVNULL
        try:
            return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=silent, text=True)
        except OSError as error:
            raise self._failed(f"{command[0]} does not start ({error.strerror})") from error

    def ask(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """One order, one answer. Raises EngineFailedError."""
        self.send(order)
        return self._read()

    def send(self, order: Mapping[str, Any]) -> None:
        """An order whose answer is read later, so that several processes work at once."""
        if self._process.stdin is None or self._process.poll() is not None:
            raise self._failed("its process has ended")
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The answer to an earlier :meth:`send`. Raises EngineFailedError."""
        return self._read()

    def run(self, runs: int, pause_seconds: float) -> list[float]:
        """Seconds of `runs` inferences, with a pause before each."""
        return self.ask({"do": "run", "runs": runs, "pause_seconds": pause_seconds})["seconds"]

    def memory(self) -> dict[str, int]:
        """Bytes above the imports: rss_bytes, pss_bytes, peak_bytes (whatever the system tells)."""
        return self.ask({"do": "memory"})

    def answer(self, batches: Path, out: Path) -> None:
        """Write the outputs of a file of batches to `out`. Raises EngineFailedError."""
        self.ask({"do": "answer", "batches": str(batches.resolve()), "out": str(out.resolve())})

    def close(self) -> None:
        """End the process; never raises."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:
                    continue
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        timer = threading.Timer(self._timeout_seconds, self._process.kill)
        timer.start()
        try:
            line = self._process.stdout.readline() if self._process.stdout else ""
        finally:
            expired = not timer.is_alive()
            timer.cancel()
        if not line:
            late = f"no answer within {self._timeout_seconds:g} s" if expired else "its process ended"
            raise self._failed(late)
        answer = json.loads(line)
        if "error" in answer:
            raise self._failed(answer["error"])
        return answer

    def _failed(self, reason: str) -> EngineFailedError:
        return EngineFailedError(f"{self._engine.name} not measured: {reason}")
