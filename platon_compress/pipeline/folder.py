"""One run's folder: its files, its state, its lock. Nothing half-written ever has a final name.

`state.json` names the kind of the run ("run", "demo" or "compress") and, per finished stage, its seconds, its
result, the settings and the results it was made from, and what its files were. A stage is finished exactly when it
stands there: its record goes before the first of its files changes, and comes back when all have.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from platon_compress import files
from platon_compress.errors import MISFITS, InputError, shown
from platon_compress.manifest import damage, manifest
from platon_compress.pipeline.links import refuse_links
from platon_compress.pipeline.stage import Stage

__all__ = ["Record", "RunFolder"]

_STATE_VERSION = 2
_LOCK = ".lock"
_MEANT = "stage.json"  # beside a training's checkpoints: the settings and inputs that they belong to


@dataclass(frozen=True, kw_only=True)
class Record:
    """A finished stage. `stamp` stands for its result; `inputs` are the stamps of what it was made from."""

    result: Mapping[str, Any]
    seconds: float
    stamp: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, list[int]] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Any) -> "Record":
        """Raises TypeError or ValueError for anything but what :meth:`RunFolder.finish` wrote."""
        fields = {key: value for key, value in data.items() if key != "status"}
        record = cls(**fields)
        for mapping in (record.result, record.settings, record.inputs, record.files):
            if not isinstance(mapping, dict):
                raise TypeError("not an object")
        if any(not isinstance(e, list) or list(map(type, e)) != [int, int] for e in record.files.values()):
            raise ValueError("not a size and a checksum")
        if any(Path(name).is_absolute() or ".." in Path(name).parts for name in record.files):
            raise ValueError("a file outside the folder")
        return record


class RunFolder:
    """Paths and state of `--output DIR`."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path = path
        self.kind = kind
        self._records: dict[str, Record] = {}
        self._running: str | None = None
        self._meant: dict[str, Any] = {}
        self._recipe: str | None = None

    @classmethod
    def open(cls, path: Path, kind: str) -> "RunFolder":
        """Open a new or an earlier run folder. Writes nothing.

        Raises InputError when the folder belongs to another command, leads out of itself, or its state is broken.
        """
        folder = cls(path, kind)
        if path.exists() and not path.is_dir():
            raise InputError(f"the output {path} is a file; give a folder with --output")
        if not path.exists():
            return folder
        refuse_links(path)
        if folder._state_path.exists():
            folder._load_state()
        elif any(entry.name != _LOCK and not files.is_leftover(entry) for entry in path.iterdir()):
            raise InputError(f"the output folder {path} holds other files; give an empty or a new folder")
        return folder

    @property
    def onnx(self) -> Path:
        """The folder of the ONNX files, ready for optimum's ORTModel classes."""
        return self.path / "onnx"

    @property
    def model(self) -> Path:
        """The baked model in Hugging Face layout, with its counts in bake.json."""
        return self.path / "model"

    @property
    def compressed(self) -> Path:
        """The converted model, small: see `platon_compress.compressed`."""
        return self.path / "compressed"

    def work(self, stage: str) -> Path:
        """Where a training stage keeps its model for the stages after it."""
        return self.path / "stages" / stage

    def record(self, stage: str) -> Record | None:
        """What is known of a finished stage."""
        return self._records.get(stage)

    def result(self, stage: str) -> dict[str, Any]:
        """What a finished stage returned. Raises InputError when it has not finished."""
        record = self._records.get(stage)
        if record is None:
            raise InputError(f"stage {stage} has not finished in {self.path}; run it first")
        return dict(record.result)

    def check_files(self, stage: str, *, thorough: bool = True) -> None:
        """Raises InputError when a file of a finished stage is not as it was written."""
        record = self._records.get(stage)
        if record is not None and (wrong := damage(self.path, record.files, thorough=thorough)):
            raise InputError(f"{wrong}; {self._repair(stage)}")

    def remember_recipe(self, text: str) -> None:
        """The recipe of this call, which is written down with the first result that is made of it."""
        self._recipe = text

    @contextlib.contextmanager
    def running(self, stage: Stage, settings: Mapping[str, Any]) -> Iterator[None]:
        """While the block works on `stage`: the first file that changes takes an old record with it."""
        self._running, self._meant = stage.name, {"settings": dict(settings), "inputs": self._inputs(stage)}
        try:
            yield
        finally:
            self._running = None

    def finish(
        self, stage: Stage, seconds: float, result: Mapping[str, Any], settings: Mapping[str, Any]
    ) -> None:
        """Record a finished stage, with what its outputs are now."""
        written = manifest(self.path, stage.outputs)
        self._records[stage.name] = Record(
            result=dict(result),
            seconds=round(seconds, 3),
            stamp=_stamp(written or result),
            settings=dict(settings),
            inputs=self._inputs(stage),
            files=written,
        )
        self._save_state()
        self.drop_checkpoints(stage.name)

    def checkpoints(self) -> Path:
        """Where the running stage keeps what it resumes from; what was kept for other settings or inputs goes."""
        folder = self._checkpoints(str(self._running))
        if folder.exists() and not self._is_meant(folder / _MEANT):
            files.remove_folder(folder)
        self._claim()
        files.write_json(folder / _MEANT, self._meant)
        return folder

    def drop_checkpoints(self, stage: str) -> None:
        """Remove what a finished training resumed from."""
        files.remove_folder(self._checkpoints(stage))

    def new_folder(self, target: Path) -> contextlib.AbstractContextManager[Path]:
        """A temporary folder that becomes `target`, a result of the running stage, when the block ends well."""
        return files.new_folder(target, self._give_up_record)

    def write_text(self, name: str, text: str) -> Path:
        """Write one file, a result of the running stage."""
        self._give_up_record()
        return files.write_text(self.path / name, text)

    def write_json(self, name: str, value: Any) -> Path:
        """Write one JSON file, a result of the running stage."""
        self._give_up_record()
        return files.write_json(self.path / name, value)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one JSON object of the folder. Raises InputError when it is missing or broken."""
        return files.read_json(self.path / name, "run the stage that writes it again")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process; clears what a killed one left half-written.

        A folder that was made for this and got no result is gone afterwards.
        """
        is_new = not self.path.exists()
        with files.explained(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.path / _LOCK, timeout=0)
            try:
                lock.acquire()
            except Timeout as error:
                raise InputError(f"another process works on {self.path}; wait for it, or stop it") from error
        try:
            if self._state_path.exists():
                self._load_state()  # another process may have gone on since
            for parent in (self.path, self.path / "stages"):
                files.clear_leftovers(parent)
            yield
        finally:
            lock.release()
            if {entry.name for entry in self.path.iterdir()} <= {_LOCK}:
                (self.path / _LOCK).unlink(missing_ok=True)
                if is_new:
                    self.path.rmdir()

    @property
    def _state_path(self) -> Path:
        return self.path / "state.json"

    def _claim(self) -> None:
        """Before anything else is in a new folder: it is a run's, wherever a kill may come."""
        if not self._state_path.exists():
            self._write_state({})

    def _give_up_record(self) -> None:
        self._claim()
        if self._running in self._records:
            del self._records[self._running]
            self._save_state()

    def _save_state(self) -> None:
        self._claim()
        if self._recipe is not None:
            files.write_text(self.path / "recipe.yaml", self._recipe)
            self._recipe = None
        self._write_state(self._records)

    def _write_state(self, records: Mapping[str, Record]) -> None:
        stages = {name: {"status": "done", **asdict(record)} for name, record in records.items()}
        state = {"version": _STATE_VERSION, "kind": self.kind, "stages": stages}
        files.write_json(self._state_path, state)

    def _load_state(self) -> None:
        state = files.read_json(self._state_path, "give a new output folder")
        if state.get("version") != _STATE_VERSION:
            raise InputError(
                f"{self._state_path} has version {shown(state.get('version'))}, this release reads {_STATE_VERSION}; "
                "give a new output folder"
            )
        try:
            self._records = {name: Record.from_dict(record) for name, record in state["stages"].items()}
        except MISFITS as error:
            raise InputError(f"{self._state_path} is no state of a run; give a new output folder") from error
        if state.get("kind") != self.kind:
            raise InputError(
                f"{self.path} holds a run of another kind ({shown(state.get('kind'))}, now {self.kind!r}); give another "
                "--output"
            )

    def _inputs(self, stage: Stage) -> dict[str, str]:
        return {name: record.stamp for name in stage.needs if (record := self._records.get(name))}

    def _checkpoints(self, stage: str) -> Path:
        return self.work(f"{stage}-checkpoints")

    def _is_meant(self, path: Path) -> bool:
        try:
            return files.read_json(path, "remove it") == self._meant
        except InputError:
            return False

    def _repair(self, stage: str) -> str:
        """The command that makes a stage's files again."""
        if stage in ("bake", "plan", "convert", "export", "verify", "report"):
            return f"make it again with `platon-compress {stage} -o {self.path}`"
        if stage == "bench":
            return f"measure again with `platon-compress bench model -o {self.path}`"
        return f"put it back, or remove {self.path} and run again"


def _stamp(value: Any) -> str:
    """A short hash of a JSON-able value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
