"""A stage of a run: what it does, what it reads and writes, and which settings its result depends on."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from platon_compress.errors import shown

if TYPE_CHECKING:
    from platon_compress.pipeline.workspace import Workspace
    from platon_compress.recipe import Recipe

__all__ = ["Stage", "differences"]


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage.

    name, title   as in a command, and as a person reads it
    run           reads what earlier stages wrote, writes the outputs, returns what it did
    needs         stages whose results it opens
    outputs       files and folders of the run folder that are its result
    uses          sections (`plan`) and keys (`plan.tokens`) of a recipe that change its result
    keeps         its result took long: a recipe with other settings is refused rather than done again
    """

    name: str
    title: str
    run: "Callable[[Workspace], Mapping[str, Any]]"
    uses: "Callable[[Recipe], tuple[str, ...]]"
    needs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    keeps: bool = False

    def settings(self, recipe: "Recipe") -> dict[str, Any]:
        """The settings that it uses and that are not left at their defaults, by dotted key."""
        used = self.uses(recipe)
        return {
            key: value
            for key, value in _flat(recipe.model_dump(mode="json", exclude_defaults=True))
            if any(key == name or key.startswith(f"{name}.") for name in used) and key not in _ELSEWHERE
        }


# Where downloads lie changes nothing.
_ELSEWHERE = frozenset({"model.cache_dir"})


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The keys that differ, for a message: "prune.sparsity was 0.9, now 0.8"; empty where none does."""
    missing = object()
    keys = [key for key in sorted({*before, *now}) if before.get(key, missing) != now.get(key, missing)]
    told = [f"{key} was {_told(before, key)}, now {_told(now, key)}" for key in keys[:4]]
    more = [f"{len(keys) - 4} more"] if len(keys) > 4 else []
    return "; ".join([*told, *more])


def _told(settings: Mapping[str, Any], key: str) -> str:
    return shown(settings[key]) if key in settings else "not set"


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys of nested mappings."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
