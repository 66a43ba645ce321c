"""What a recipe may hold, for programs (a JSON schema) and for people (the page docs/recipe.md)."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from platon_compress.limits import LIMITS
from platon_compress.recipe.mistakes import sections_in
from platon_compress.recipe.schema import Recipe

__all__ = ["choices", "json_schema", "markdown", "spoken"]

_HEAD = """# The recipe

A recipe is a YAML file of sections; keys not listed below are refused. Only `model`, `data` and `prune` are required.
`platon-compress init TASK` writes one to start from, `--set section.key=value` changes a key for one command, and
`platon-compress schema` prints the JSON schema for validation in editors:

    # yaml-language-server: $schema=recipe.schema.json

This page is generated: `platon-compress schema --markdown > docs/recipe.md`.
"""


def json_schema() -> str:
    """The JSON schema of a recipe (draft 2020-12)."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(),
        "title": "platon-compress recipe",
    }
    return json.dumps(schema, indent=1)


def markdown() -> str:
    """The reference of all keys, without a line break at its end."""
    return "\n".join([_HEAD, *_lines()]).rstrip("\n")


def choices(key: str) -> tuple[str, ...]:
    """The words that a key such as `plan.device` takes; none where it takes something else."""
    return tuple(_schema_of(key).get("enum", ()))


def spoken(value: Any) -> str:
    """A default as it would be written in YAML."""
    if isinstance(value, tuple):
        return f"[{', '.join(spoken(item) for item in value)}]"
    if isinstance(value, float):
        return f"{value:.1e}" if 0 < value < 1e-2 else f"{value:g}"
    return json.dumps(value)


def _lines() -> Iterator[str]:
    plain = {name: field for name, field in Recipe.model_fields.items() if not sections_in(field.annotation)}
    yield from _table("", plain)
    for name, field in Recipe.model_fields.items():
        for section in sections_in(field.annotation):
            needed = " (required)" if name in ("model", "data", "prune") else ""
            yield f"\n## `{name}`{needed}\n"
            yield f"{' '.join((section.__doc__ or '').split())}\n"
            yield from _table(f"{name}.", section.model_fields)


def _table(place: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    yield "| key | default | values | meaning |"
    yield "|---|---|---|---|"
    for name, field in fields.items():
        if field.exclude:
            continue
        default = "**required**" if field.is_required() else f"`{spoken(field.default)}`"
        yield f"| `{name}` | {default} | {_values(place + name, field)} | {field.description} |"


def _values(key: str, field: FieldInfo) -> str:
    if key in LIMITS:
        number = str(LIMITS[key]).partition(", for example")[0]
        return f"a list, each {number}" if _schema_of(key).get("type") == "array" else number
    if words := choices(key):
        return ", ".join(f"`{word}`" for word in words)
    names = {
        "string": "a string",
        "boolean": "`true`, `false`",
        "array": "a list of strings",
        "object": "a mapping",
    }
    return names[_schema_of(key)["type"]]


def _schema_of(key: str) -> dict[str, Any]:
    """The JSON schema of what one key takes beside null."""
    section, _, name = key.rpartition(".")
    model: type[BaseModel] = sections_in(Recipe.model_fields[section].annotation)[0] if section else Recipe
    found = model.model_json_schema()["properties"][name]
    return next(dict(part) for part in found.get("anyOf", [found]) if part.get("type") != "null")
