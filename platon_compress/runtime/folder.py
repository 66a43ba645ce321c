"""What an exported folder holds: its settings, its model file and the task it was made for."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.files import read_json

__all__ = ["TASKS", "ModelFolder", "open_folder", "task_of"]

TASKS = {
    "sentence-similarity": "encode(texts)",
    "text-classification": "predict(texts)",
    "text-ranking": "predict(pairs)",
    "token-classification": "entities(texts)",
    "question-answering": "answer(questions, contexts)",
    "image-classification": "classify(images)",
}
"""Task to the method that does it."""

_HEADS = {
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForImageClassification": "image-classification",
}
_SHIFTED = frozenset(
    {
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "mpnet",
        "longformer",
        "data2vec-text",
        "ibert",
        "xmod",
    }
)
_NO_LIMIT = 10**9  # transformers writes 1e30 where a tokenizer has none
_USUAL_FILES = ("compressed.onnx", "model.onnx")
_CURE = "give the folder that the export wrote"


@dataclass(frozen=True)
class ModelFolder:
    """`path` holds config.json and what belongs to it, `model_file` is the ONNX file."""

    path: Path
    model_file: Path
    config: Mapping[str, Any]

    def settings(self, name: str) -> dict[str, Any]:
        """The JSON object in the file `name`; empty where there is none."""
        path = self.path / name
        return read_json(path, "write the file again", finite=False) if path.is_file() else {}

    @cached_property
    def sentence_settings(self) -> Mapping[str, Any]:
        """config_sentence_transformers.json: prompts and the like."""
        return self.settings("config_sentence_transformers.json")

    @cached_property
    def positions(self) -> int | None:
        """The most tokens that the model has positions for, None where it does not say.

        RoBERTa and its like begin to count after the padding's id.
        """
        most = self.config.get("max_position_embeddings")
        if not isinstance(most, int) or most < 1:
            return None
        if str(self.config.get("model_type")) not in _SHIFTED:
            return most
        padding = self.config.get("pad_token_id")
        return most - (padding if isinstance(padding, int) else 0) - 1

    @cached_property
    def max_tokens(self) -> int | None:
        """Longest input in tokens: max_seq_length, or the tokenizer's limit, and never more than the positions."""
        own = self.settings("sentence_bert_config.json").get("max_seq_length")
        given = own or self.settings("tokenizer_config.json").get("model_max_length")
        limits = [limit for limit in (given, self.positions) if isinstance(limit, int | float) and limit >= 1]
        return int(min(limits)) if limits and min(limits) < _NO_LIMIT else None

    def labels(self, count: int) -> tuple[str, ...]:
        """Names of the model's `count` outputs, from config.json. Raises InputError when there are more or fewer."""
        names = self.config.get("id2label")
        if names is None:
            return tuple(f"LABEL_{number}" for number in range(count))
        if not isinstance(names, dict):
            raise InputError(
                f"id2label in config.json is a {type(names).__name__}, not an object; export it again"
            )
        if set(names) != {str(number) for number in range(count)}:
            first = min(names, default=0)
            raise InputError(
                f"config.json names {len(names)} labels ({first}...), {self.model_file.name} has {count} outputs from 0; "
                "export it again"
            )
        return tuple(str(names[str(number)]) for number in range(count))


def open_folder(folder: str | Path, file: str | None = None) -> ModelFolder:
    """`folder`, or its subfolder onnx, as an export, optimum or sentence-transformers leaves it.

    file: name of the model file; None: compressed.onnx, model.onnx, or the only one there is. Raises InputError when
    something is missing or two files could be meant.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(f"there is no folder {root}; {_CURE}")
    places = [place for place in (root, root / "onnx") if place.is_dir()]
    home = next((place for place in places if (place / "config.json").is_file()), None)
    if home is None:
        raise InputError(f"{root} holds no config.json; {_CURE}")
    config = read_json(home / "config.json", _CURE, finite=False)
    return ModelFolder(path=home, model_file=_model_file(root, places, file), config=config)


def task_of(folder: ModelFolder) -> str:
    """Which of TASKS the folder is made for. Raises InputError when its files do not tell."""
    if folder.sentence_settings.get("model_type") == "CrossEncoder":
        return "text-ranking"
    if (folder.path / "modules.json").is_file():
        return "sentence-similarity"
    named = folder.config.get("task")
    listed = folder.config.get("architectures")
    architecture = " ".join(str(listed[0]).split())[:60] if isinstance(listed, list) and listed else "none"
    head = next((task for ending, task in _HEADS.items() if architecture.endswith(ending)), None)
    task = named if isinstance(named, str) and named in TASKS else head
    if task is None:
        raise InputError(
            f"config.json tells no task (architecture {architecture}); give task=, one of {', '.join(TASKS)}"
        )
    return task


def _model_file(root: Path, places: list[Path], file: str | None) -> Path:
    names = _USUAL_FILES if file is None else (file,)
    for place in places:
        for name in names:
            if (place / name).is_file():
                return place / name
    found = sorted(path for place in places for path in place.glob("*.onnx"))
    listed = ", ".join(path.name for path in found) or "none"
    if file is None and len(found) == 1:
        return found[0]
    if file is None and found:
        raise InputError(f"{root} holds {listed}; say which one with file=")
    raise InputError(f"{root} holds no {file or 'model file'} (.onnx files: {listed}); {_CURE}")
