"""What the keys of a recipe are made of: numbers in their ranges, texts, lists, and the description beside each."""

from collections.abc import Iterator
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from platon_compress.limits import LIMITS, MAX_LIST

__all__ = ["LISTED", "NUMBER", "Section", "Several", "Text", "Texts", "about", "limited", "numbers"]


def _number(value: Any) -> Any:
    """YAML's yes and no are no numbers, although Python counts with them."""
    if isinstance(value, bool):
        raise ValueError("must be a number")
    return value


def _listed(value: Any) -> Any:
    """One value where a list is asked for is a list of one."""
    return value if isinstance(value, list | tuple) or value is None else (value,)


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number in nested mappings and lists, with the key it stands under."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from numbers(inner, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from numbers(inner, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def limited(key: str) -> Any:
    """The range of `key` for pydantic and for the JSON schema."""
    limit = LIMITS[key]
    kind = int if limit.whole else float
    bounds: dict[str, Any] = {
        "gt" if limit.above else "ge": kind(limit.least),
        "lt" if limit.below else "le": kind(limit.most),
    }
    return Field(**bounds)


def about(text: str, default: Any = ..., **more: Any) -> Any:
    """A key with its line in the reference."""
    return Field(default, description=text, **more)


# Behind the limits, or pydantic would not know them as a range in the JSON schema.
NUMBER, LISTED = BeforeValidator(_number), BeforeValidator(_listed)
Text = Annotated[str, Field(min_length=1, max_length=4096)]
Texts = Annotated[tuple[Text, ...], Field(max_length=10_000), LISTED]
_Item = TypeVar("_Item")
Several = Annotated[tuple[_Item, ...], Field(min_length=1, max_length=MAX_LIST), LISTED]
"""Of such values at least one, and no more than a person would write."""


class Section(BaseModel):
    """Unknown keys are refused, and so are infinity and NaN."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
