"""What a folder of sentence-transformers holds beside its encoder, kept in every folder that is written from it.

Rules:

1. A bi-encoder's folder says how vectors of tokens become one of a text (modules.json); one that holds no modules.json
   is taken with mean pooling, as sentence-transformers takes it, and is written with one.
2. What is written has the encoder at its root, wherever the folder that was read had it.
3. A cross-encoder is known by config_sentence_transformers.json; one that is trained anew gets it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.files import inner, read_json, write_text
from platon_compress.runtime.embed import POOLINGS
from platon_compress.runtime.modules import MODULES_FILE, SentenceModules, module_entries, read_modules

__all__ = [
    "SentenceFiles",
    "bi_encoder_files",
    "cross_encoder_files",
    "local_folder",
    "mean_pooling",
    "says_cross_encoder",
]

_SETTINGS = "config_sentence_transformers.json"
_ENCODER = "sentence_bert_config.json"
_CURE = "save the model again"
_SIGMOID = "torch.nn.modules.activation.Sigmoid"
_TYPES = "sentence_transformers.models."  # every version of the library reads these names


@dataclass(frozen=True)
class SentenceFiles:
    """texts: the content of each file by its path in the folder. assumed: the folder that was read names no pooling.

    modules: None for a cross-encoder.
    """

    texts: Mapping[str, str]
    modules: SentenceModules | None = None
    assumed: bool = False

    @cached_property
    def max_tokens(self) -> int | None:
        """max_seq_length, None where the folder does not say."""
        found = self._read(_ENCODER).get("max_seq_length")
        return found if isinstance(found, int) and found > 0 else None

    def cut(self, length: int) -> int:
        """Tokens that a text is cut to where others are cut to `length`: the folder may know fewer."""
        return min(length, self.max_tokens or length)

    @cached_property
    def prompt(self) -> str:
        """What stands before every text: the default prompt, "" without one. Raises InputError for one nobody knows."""
        settings = self._read(_SETTINGS)
        name = settings.get("default_prompt_name")
        prompts = settings.get("prompts") or {}
        if name is None:
            return ""
        if name not in prompts:
            raise InputError(
                f"{_SETTINGS} names the prompt {name!r}, but holds {', '.join(prompts) or 'none'}; fix it"
            )
        return str(prompts[name])

    def spelled(self, text: str) -> str:
        """As `encode` of sentence-transformers gives a text to the tokenizer."""
        whole = self.prompt + text
        return whole.lower() if self._read(_ENCODER).get("do_lower_case") else whole

    def save(self, folder: Path) -> None:
        """Write the files beside a model."""
        for name, text in self.texts.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_text(folder / name, text)

    def _read(self, name: str) -> dict[str, Any]:
        content = json.loads(self.texts.get(name, "{}"))
        return content if isinstance(content, dict) else {}


def bi_encoder_files(folder: Path | None) -> SentenceFiles | None:
    """Of a bi-encoder's folder; None without modules.json.

    Raises InputError for modules and poolings that cannot be followed.
    """
    if folder is None or not (folder / MODULES_FILE).is_file():
        return None
    modules = read_modules(folder)
    if not modules.pooling:
        raise InputError(
            f"{folder / MODULES_FILE} names no Pooling, so no text has one vector; save the model with one, or take "
            "modules.json away for mean pooling"
        )
    unknown = [name for name in modules.pooling if name not in POOLINGS]
    if unknown:
        raise InputError(
            f"{folder / MODULES_FILE} pools by {unknown[0]!r}, which is unknown here; known are {', '.join(POOLINGS)}"
        )
    files = SentenceFiles(_texts(folder, modules.encoder), modules)
    if files.prompt and not modules.include_prompt:
        raise InputError(
            f"{folder} leaves its default prompt out of the pooling (include_prompt false), which no training here does; "
            f"take default_prompt_name out of {_SETTINGS}"
        )
    return files


def mean_pooling(width: int, max_tokens: int | None) -> SentenceFiles:
    """Of a plain encoder, whose vectors of tokens are `width` wide."""
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": f"{_TYPES}Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": f"{_TYPES}Pooling"},
    ]
    pooling = {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True}
    texts = {
        MODULES_FILE: _json(modules),
        "1_Pooling/config.json": _json(pooling),
        _ENCODER: _json({"max_seq_length": max_tokens, "do_lower_case": False}),
    }
    return SentenceFiles(texts, SentenceModules(pooling=("mean",)), assumed=True)


def says_cross_encoder(folder: Path) -> bool:
    """Whether sentence-transformers saved the folder as a CrossEncoder."""
    path = folder / _SETTINGS
    return path.is_file() and read_json(path, _CURE, finite=False).get("model_type") == "CrossEncoder"


def cross_encoder_files(folder: Path | None, config: Any) -> SentenceFiles:
    """Of a cross-encoder's folder; of any other, what makes it one, with the activation that its config names."""
    if folder is not None and says_cross_encoder(folder):
        return SentenceFiles(_texts(folder, read_modules(folder).encoder))
    inside = getattr(config, "sentence_transformers", None) or {}
    named = inside.get("activation_fn") or getattr(config, "sbert_ce_default_activation_function", None)
    return SentenceFiles(
        {_SETTINGS: _json({"model_type": "CrossEncoder", "activation_fn": named or _SIGMOID})}
    )


def local_folder(source: str, cache_dir: str | None, local_only: bool) -> Path | None:
    """Where the small files of `source` lie: the folder itself, or the cache after they were fetched from the hub.

    None where the hub's model holds none of them.
    """
    if Path(source).is_dir():
        return Path(source)
    modules = _fetched(source, MODULES_FILE, cache_dir, local_only)
    settings = _fetched(source, _SETTINGS, cache_dir, local_only)
    if modules is None:
        return None if settings is None else settings.parent
    for entry in module_entries(modules):
        name = _ENCODER if entry["type"].endswith("Transformer") else "config.json"
        _fetched(source, f"{entry['path']}/{name}".lstrip("/"), cache_dir, local_only)
    return modules.parent


def _fetched(source: str, name: str, cache_dir: str | None, local_only: bool) -> Path | None:
    from transformers.utils import cached_file

    found = cached_file(
        source,
        name,
        cache_dir=cache_dir,
        local_files_only=local_only,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return None if found is None else Path(found)


def _texts(folder: Path, encoder: str) -> dict[str, str]:
    """The files by the paths that they are written to."""
    texts = {}
    if (folder / _SETTINGS).is_file():
        texts[_SETTINGS] = (folder / _SETTINGS).read_text(encoding="utf-8")
    if settings := inner(folder, f"{encoder or '.'}/{_ENCODER}"):
        texts[_ENCODER] = settings.read_text(encoding="utf-8")
    if (folder / MODULES_FILE).is_file():
        entries = module_entries(folder / MODULES_FILE)
        moved = [{**entry, "path": ""} if entry["path"] == encoder else entry for entry in entries]
        texts[MODULES_FILE] = _json(moved)
        for path in (entry["path"] for entry in moved if entry["path"]):
            for file in sorted((folder / path).glob("*.json")):
                texts[f"{path}/{file.name}"] = file.read_text(encoding="utf-8")
    return texts


def _json(content: Any) -> str:
    return json.dumps(content, indent=2) + "\n"
