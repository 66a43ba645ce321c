"""What modules.json of sentence-transformers says: how the vectors of tokens become one of a text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platon_compress.errors import MISFITS, InputError, first_line
from platon_compress.files import read_json

__all__ = ["MODULES_FILE", "SentenceModules", "module_entries", "read_modules"]

MODULES_FILE = "modules.json"
_LIBRARY = "sentence_transformers."
_OLD_KEYS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True, kw_only=True)
class SentenceModules:
    """pooling: names, their vectors stand side by side; () where there is none. normalize: to length 1 afterwards.

    include_prompt: whether a prompt's tokens count. encoder: the subfolder of the model, "" for the folder itself.
    """

    pooling: tuple[str, ...] = ()
    normalize: bool = False
    include_prompt: bool = True
    encoder: str = ""


def read_modules(folder: Path) -> SentenceModules:
    """Of a folder with or without modules.json. Raises InputError for a module that only its library can run."""
    path = folder / MODULES_FILE
    pooling: dict[str, Any] = {}
    normalize, encoder = False, ""
    for module in module_entries(path) if path.is_file() else ():
        kind = _kind(module)
        if kind == "Transformer":
            encoder = module["path"]
        elif kind == "Pooling":
            pooling = read_json(folder / module["path"] / "config.json", "save the model again", finite=False)
        elif kind == "Normalize":
            normalize = True
        else:
            raise InputError(
                f"{path} holds a {kind}, which runs in sentence-transformers only; use that, or a model of Transformer, "
                "Pooling and Normalize"
            )
    return SentenceModules(
        pooling=_names(pooling),
        normalize=normalize,
        include_prompt=bool(pooling.get("include_prompt", True)),
        encoder=encoder,
    )


def module_entries(path: Path) -> list[dict[str, Any]]:
    """The modules that the file lists, each with its `path` and `type`. Raises InputError for anything else."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [{**entry, "path": str(entry["path"]), "type": str(entry["type"])} for entry in entries]
    except (OSError, *MISFITS, RecursionError) as error:
        raise InputError(
            f"{path} is no list of modules: {first_line(error)}; save the model again"
        ) from error


def _kind(module: Mapping[str, Any]) -> str:
    """The class of the library, by its bare name; a class of the folder's own code keeps its whole name."""
    whole = module["type"]
    return whole.rpartition(".")[2] if whole.startswith(_LIBRARY) else whole


def _names(settings: Mapping[str, Any]) -> tuple[str, ...]:
    given = settings.get("pooling_mode")
    if given is not None:
        return (given,) if isinstance(given, str) else tuple(given)
    return tuple(name for key, name in _OLD_KEYS.items() if settings.get(key)) or ("mean",) * bool(settings)
