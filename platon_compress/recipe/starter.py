"""A recipe to start from: every key with its default and what it means, generated from the schema."""

import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from platon_compress.errors import InputError, shown
from platon_compress.recipe.data import DATA_KEYS, TRAINABLE_TASKS, default_column
from platon_compress.recipe.mistakes import sections_in
from platon_compress.recipe.reference import spoken
from platon_compress.recipe.schema import Recipe

__all__ = ["starter"]

_WIDTH = 100
# What a newcomer fills in; the rest is the schema's.
_GIVEN: dict[str, dict[str, Any]] = {
    "text-classification": {
        "model.name": "microsoft/MiniLM-L12-H384-uncased",
        "data.train": "train.csv",
        "data.validation": "validation.csv",
        "prune.sparsity": 0.9,
    },
    "token-classification": {
        "model.name": "microsoft/MiniLM-L12-H384-uncased",
        "data.train": "train.conll",
        "data.validation": "validation.conll",
        "prune.sparsity": 0.8,
    },
    "question-answering": {
        "model.name": "microsoft/MiniLM-L12-H384-uncased",
        "data.train": "train.json",
        "data.validation": "validation.json",
        "data.max_length": 384,
        "prune.sparsity": 0.8,
    },
    "sentence-similarity": {
        "model.name": "sentence-transformers/all-MiniLM-L6-v2",
        "data.train": "texts.csv",
        "data.validation": "scored-pairs.csv",
        "prune.sparsity": 0.8,
        "distill.labels": False,
    },
    "text-ranking": {
        "model.name": "cross-encoder/ms-marco-MiniLM-L6-v2",
        "data.train": "train.csv",
        "data.validation": "validation.csv",
        "prune.sparsity": 0.8,
    },
    "image-classification": {
        "model.name": "WinKawaks/vit-small-patch16-224",
        "data.train": "photos/train",
        "data.validation": "photos/validation",
        "prune.sparsity": 0.8,
    },
}
_LEFT_OUT = ("kind", "dense")


def starter(task: str) -> str:
    """The text of a recipe for `task`. Raises InputError for a task that cannot be trained."""
    if task not in TRAINABLE_TASKS:
        raise InputError(
            f"no recipe trains the task {shown(task)}; choose one of {', '.join(TRAINABLE_TASKS)}"
        )
    given = {**_GIVEN[task], "model.task": task}
    return "\n".join([*_head(task), *_sections(task, given)]) + "\n"


def _head(task: str) -> Iterator[str]:
    yield f"# A platon-compress recipe for {task}. Lines that begin with `#` can stay as they are."
    yield "#   platon-compress run THIS_FILE -o runs/mine --dry-run    show what would be done"
    yield "#   platon-compress run THIS_FILE -o runs/mine              run it; repeat the command to resume"


def _sections(task: str, given: dict[str, Any]) -> Iterator[str]:
    for name, field in Recipe.model_fields.items():
        for section in sections_in(field.annotation):
            written = field.default is not None or any(key.startswith(f"{name}.") for key in given)
            yield ""
            yield from _comment((section.__doc__ or "").strip(), "")
            yield f"{'' if written else '# '}{name}:"
            yield from _keys(task, name, section, given, written)


def _keys(
    task: str, name: str, section: type[BaseModel], given: dict[str, Any], written: bool
) -> Iterator[str]:
    for key, field in section.model_fields.items():
        if field.exclude:
            continue
        yield from _comment(str(field.description), "  ")
        value = given.get(f"{name}.{key}", None if field.is_required() else field.default)
        off = not written or value is None or (name == "data" and key not in DATA_KEYS[task])
        if name == "data" and value is None:
            value = default_column(key, task)
        yield f"{'# ' if off else ''}  {key}:{'' if value is None else f' {_yaml(value)}'}"


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else spoken(value)


def _comment(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        " ".join(text.split()), _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )
