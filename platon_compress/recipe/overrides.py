"""`--set section.key=value`: the value is what the key takes, so a text needs no quotes."""

from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

from platon_compress.errors import InputError, shown
from platon_compress.recipe.schema import Recipe
from platon_compress.yaml_file import parse_yaml

__all__ = ["apply_override"]

_NULLS = ("null", "~")


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Set one key of `raw`. Raises InputError in one line.

    Where the key takes a text, the value is that text, letter by letter; `null` takes the key away, and YAML's quotes
    are understood (`'data.text="null"'` is a column of that name). Everything else is YAML.
    """
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise InputError(
            f"--set {shown(override)} is not section.key=value; for example --set prune.sparsity=0.8"
        )
    target: Any = raw
    for part in parts[:-1]:
        if target.get(part) is None:
            target[part] = {}
        target = target[part]
        if not isinstance(target, dict):
            raise InputError(
                f"--set {shown(override)}: {part!r} is a plain value in the recipe, not a section; "
                f"set {'.'.join(parts[: parts.index(part) + 1])} itself"
            )
    target[parts[-1]] = _value(parts, text, override)


def _value(parts: list[str], text: str, override: str) -> Any:
    if _takes_text(parts):
        if not text.strip():
            raise InputError(f"--set {shown(override)} has no value; write null to take the key away")
        if text.strip() in _NULLS:
            return None
        if not _quoted(text.strip()):
            return text
    return parse_yaml(text, f"--set {shown(override)}: the value")


def _quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"


def _takes_text(parts: list[str]) -> bool:
    """Whether the key is a text and nothing but a text, or null."""
    section: type[BaseModel] = Recipe
    for part in parts[:-1]:
        inner = [t for t in _alternatives(_annotation(section, part)) if isinstance(t, type)]
        sections = [t for t in inner if issubclass(t, BaseModel)]
        if not sections:
            return False
        section = sections[0]
    return set(_alternatives(_annotation(section, parts[-1]))) - {NoneType} == {str}


def _annotation(section: type[BaseModel], key: str) -> Any:
    field = section.model_fields.get(key)
    return None if field is None else field.annotation


def _alternatives(annotation: Any) -> list[Any]:
    """The types of a union, without what is annotated to them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [found for part in get_args(annotation) for found in _alternatives(part)]
    return [annotation]
