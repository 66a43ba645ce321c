"""From a YAML file and `--set` to a checked recipe."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from platon_compress.errors import InputError
from platon_compress.recipe.mistakes import explain
from platon_compress.recipe.overrides import apply_override
from platon_compress.recipe.schema import Recipe
from platon_compress.recipe.yaml_file import read_yaml

__all__ = ["load_recipe", "parse_recipe", "recipe_digest", "shipped_recipe"]

_RECIPES = Path(__file__).parents[1] / "recipes"


def load_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides.

    Relative `data.train` and `data.validation` paths count from the current folder.
    Raises InputError, in one line, for a missing or broken file, unknown keys and wrong values.
    """
    raw = read_yaml(path)
    for override in overrides:
        apply_override(raw, override)
    return parse_recipe(raw, source=str(path))


def parse_recipe(raw: dict[str, Any], source: str = "recipe") -> Recipe:
    """Validate a recipe given as nested mappings. Raises InputError in one line."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error)}") from error


def recipe_digest(recipe: Recipe) -> str:
    """A short hash of the recipe's meaning; key order, comments and spelled-out defaults do not change it."""
    text = json.dumps(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def shipped_recipe(name: str) -> Path:
    """The path of a recipe that ships with the package, by its name without `.yaml`."""
    known = {path.stem: path for path in sorted(_RECIPES.glob("*.yaml"))}
    if name not in known:
        raise InputError(
            f"no shipped recipe is called {name!r}; give a .yaml file, or one of: {', '.join(known)}"
        )
    return known[name]
