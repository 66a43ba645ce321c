"""What is wrong with a recipe, in one line: the key, the value, the cure."""

import difflib
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from platon_compress.errors import shown
from platon_compress.limits import LIMITS, MAX_LIST
from platon_compress.recipe.schema import Recipe

__all__ = ["explain", "sections_in"]

_SECTION = "{place} is {value}; it is a section, write its keys below it, or leave it out"
_FLAG = "{place} is {value}; write true or false"
_EMPTY = "{place} is empty; give a value, or leave the key out"
_LONG = "{place} holds more than {most:,} entries; shorten it"
_LIST = "{place} is {value}; write a list: [first, second]"
# By pydantic's name of a mistake. What a range says better than the name of a mistake comes after these.
_SENTENCES = {
    "extra_forbidden": "unknown key {place}{suggestion}",
    "missing": "{place} is missing; add it",
    "dict_type": _SECTION,
    "model_type": _SECTION,
    "model_attributes_type": _SECTION,
    "string_type": "{place} is {value}, which YAML does not read as a text; write it in quotes",
    "bool_type": _FLAG,
    "bool_parsing": _FLAG,
    "literal_error": "{place} is {value}; choose one of {choices}",
    "too_long": _LONG,
    "string_too_long": _LONG,
    "too_short": _EMPTY,
    "string_too_short": _EMPTY,
}
_LISTS = ("tuple_type", "list_type")
_NUMBERS = ("bench.batch", "bench.tokens", "prune.family")


def explain(error: ValidationError) -> str:
    """The first mistake, and how many more there are."""
    mistakes = error.errors()
    more = f" (and {len(mistakes) - 1} more)" if len(mistakes) > 1 else ""
    return _sentence(mistakes[0]) + more


def _sentence(mistake: Mapping[str, Any]) -> str:
    kind, location = mistake["type"], tuple(part for part in mistake["loc"] if not _is_validator(part))
    place = ".".join(str(part) for part in location) or "recipe"
    if kind == "value_error" and isinstance(mistake["input"], dict | BaseModel | None):
        return f"{'' if place == 'recipe' else f'{place}: '}{_message(mistake)}"
    context = mistake.get("ctx", {})
    return _template(kind, ".".join(part for part in location if isinstance(part, str))).format(
        place=place,
        value=shown(mistake["input"]),
        suggestion=_suggestion(location) if kind == "extra_forbidden" else "",
        choices=str(context.get("expected")).replace(" or ", ", ").replace("'", ""),
        most=context.get("max_length", 0),
        message=_message(mistake),
    )


def _template(kind: str, key: str) -> str:
    if kind in _SENTENCES:
        return _SENTENCES[kind]
    if key in LIMITS:
        listed = f" (or a list of up to {MAX_LIST})" if key in _NUMBERS else ""
        return f"{{place}} is {{value}}; give {LIMITS[key]}{listed}"
    return _LIST if kind in _LISTS else "{place} is {value}: {message}; correct it"


def _message(mistake: Mapping[str, Any]) -> str:
    return str(mistake["msg"]).removeprefix("Value error, ")


def _is_validator(part: int | str) -> bool:
    """Pydantic puts the names of its own wrappers into the place of a mistake."""
    return isinstance(part, str) and ("[" in part or part in ("int", "float", "str"))


def _suggestion(location: tuple[int | str, ...]) -> str:
    """The keys that the section knows, the likeliest one first."""
    section: type[BaseModel] = Recipe
    for part in location[:-1]:
        field = section.model_fields.get(str(part))
        inner = sections_in(None if field is None else field.annotation)
        if not inner:
            return "; leave it out"
        section = inner[0]
    known = list(section.model_fields)
    close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.65)
    if close:
        return f"; did you mean {close[0]}? known: {', '.join(known)}"
    home = [name for name, field in Recipe.model_fields.items() if _has(field.annotation, str(location[-1]))]
    where = f"; it belongs to {home[0]}" if home else ""
    return f"{where}; known: {', '.join(known)}"


def _has(annotation: Any, key: str) -> bool:
    return any(key in section.model_fields for section in sections_in(annotation))


def sections_in(annotation: Any) -> list[type[BaseModel]]:
    """The sections among the types of an annotation, such as `TrainSection | None`."""
    types = [annotation, *get_args(annotation)]
    return [found for found in types if isinstance(found, type) and issubclass(found, BaseModel)]
