"""One run's folder: its files, its state, its lock. Nothing half-written ever has a final name."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from platon_compress import files
from platon_compress.errors import InputError

__all__ = ["RunFolder"]

_STATE_VERSION = 1


class RunFolder:
    """Paths and state of `--output DIR`.

    `state.json` names the kind of the run ("run", "demo" or "compress"), the digest of its recipe and, per
    finished stage, its seconds and result. A stage is finished exactly when it stands there.
    """

    def __init__(self, path: Path, kind: str, digest: str) -> None:
        self.path = path
        self._identity = {"version": _STATE_VERSION, "kind": kind, "recipe_digest": digest}
        self._stages: dict[str, dict[str, Any]] = {}

    @classmethod
    def open(cls, path: Path, kind: str, digest: str) -> "RunFolder":
        """Open a new or an earlier run folder.

        Raises InputError when the folder belongs to another recipe or command, or its state is broken.
        """
        folder = cls(path, kind, digest)
        if path.exists() and not path.is_dir():
            raise InputError(f"the output {path} is a file; give a folder with --output")
        if folder._state_path.exists():
            folder._load_state()
        elif path.exists() and any(path.iterdir()):
            raise InputError(f"the output folder {path} holds other files; give an empty or a new folder")
        return folder

    @property
    def onnx(self) -> Path:
        """The folder of the ONNX files, ready for optimum's ORTModel classes."""
        return self.path / "onnx"

    @property
    def model(self) -> Path:
        """The baked model in Hugging Face layout."""
        return self.path / "model"

    @property
    def compressed(self) -> Path:
        """The converted model, small: see `platon_compress.compressed`."""
        return self.path / "compressed"

    def work(self, stage: str) -> Path:
        """Where a training stage keeps its model for the stages after it."""
        return self.path / "stages" / stage

    def is_done(self, stage: str) -> bool:
        """Whether `stage` has finished here."""
        return stage in self._stages

    def result(self, stage: str) -> dict[str, Any]:
        """What a finished stage returned. Raises InputError when it has not finished."""
        if stage not in self._stages:
            raise InputError(f"stage {stage} has not finished in {self.path}; run it first")
        return self._stages[stage]["result"]

    def finish(self, stage: str, seconds: float, result: Mapping[str, Any]) -> None:
        """Record a finished stage."""
        self._stages[stage] = {"status": "done", "seconds": round(seconds, 3), "result": dict(result)}
        self._save_state()

    def forget(self, stages: tuple[str, ...]) -> None:
        """Drop the records of `stages`, which will run again."""
        kept = {name: record for name, record in self._stages.items() if name not in stages}
        if len(kept) < len(self._stages):
            self._stages = kept
            self._save_state()

    def write_text(self, name: str, text: str) -> Path:
        """Write one file in the folder."""
        return files.write_text(self.path / name, text)

    def write_json(self, name: str, value: Any) -> Path:
        """Write one JSON file in the folder."""
        return files.write_json(self.path / name, value)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read one JSON object of the folder. Raises InputError when it is missing or broken."""
        return files.read_json(self.path / name, "run the stage that writes it again")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for one process; clears what a killed one left half-written."""
        import fcntl

        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise InputError(f"another process works on {self.path}; wait for it, or stop it") from error
            self._clear_leftovers()
            self._save_state()
            yield

    @property
    def _state_path(self) -> Path:
        return self.path / "state.json"

    def _save_state(self) -> None:
        self.write_json("state.json", {**self._identity, "stages": self._stages})

    def _load_state(self) -> None:
        state = self.read_json("state.json")
        stages = state.get("stages")
        if not isinstance(stages, dict) or not all(map(_is_record, stages.values())):
            raise InputError(f"{self._state_path} is no state of a run; give a new output folder")
        self._stages = stages
        for key, ours in self._identity.items():
            # A run that stopped before its first stage had finished binds nobody.
            if state.get(key) != ours and self._stages:
                raise InputError(self._mismatch(key, state.get(key), ours))

    def _mismatch(self, key: str, theirs: Any, ours: Any) -> str:
        if key == "recipe_digest":
            return (
                f"{self.path} holds a run of another recipe ({theirs}, now {ours}); "
                "give another --output, or the recipe.yaml that lies in the folder"
            )
        return f"{self.path} holds a run of another {key} ({theirs!r}, now {ours!r}); give another --output"

    def _clear_leftovers(self) -> None:
        for parent in (self.path, self.onnx, self.path / "stages"):
            files.clear_leftovers(parent)


def _is_record(value: Any) -> bool:
    """Whether `value` can be what :meth:`RunFolder.finish` wrote."""
    return isinstance(value, dict) and isinstance(value.get("result"), dict)
