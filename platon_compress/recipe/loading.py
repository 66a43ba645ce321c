"""From a YAML file and `--set` to a checked recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from platon_compress.errors import InputError, shown
from platon_compress.recipe.mistakes import explain
from platon_compress.recipe.overrides import apply_override
from platon_compress.recipe.schema import Recipe
from platon_compress.yaml_file import read_yaml

__all__ = ["load_recipe", "parse_recipe", "shipped_recipe", "trusting"]

_OF_A_DATASET = (
    "dataset",
    "dataset_config",
    "train_split",
    "validation_split",
    "train_rows",
    "validation_rows",
)
_RECIPES = Path(__file__).parents[1] / "recipes"


def load_recipe(path: Path, overrides: tuple[str, ...] = (), data: Mapping[str, str] | None = None) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides, then the keys of the data section in `data`.

    Relative `data.train` and `data.validation` paths count from the current folder.
    Raises InputError, in one line, for a missing or broken file, unknown keys and wrong values.
    """
    raw = read_yaml(path)
    _refuse_repeats(overrides, data or {})
    for override in overrides:
        apply_override(raw, override)
    if data:
        raw["data"] = _own_data(raw.get("data"), data)
    return parse_recipe(raw, source=str(path))


def trusting(recipe: Recipe, trust_remote_code: bool) -> Recipe:
    """The recipe for a call that lets the model's own code run, or not. No file can say so: see ModelSection."""
    model = recipe.model.model_copy(update={"trust_remote_code": trust_remote_code})
    return recipe.model_copy(update={"model": model})


def _refuse_repeats(overrides: tuple[str, ...], data: Mapping[str, str]) -> None:
    """A key that is set twice on one command line is a slip: the last one would win in silence."""
    seen = {f"data.{key}": f"--{key.replace('_', '-')}" for key in data}
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key in seen:
            raise InputError(f"{seen[key]} and --set {shown(override)} set the same key; keep one")
        seen[key] = f"--set {shown(override)}"


def _own_data(section: Any, given: Mapping[str, str]) -> dict[str, Any]:
    """Files that are named win over a data set, and what belongs to that data set goes with it."""
    kept = dict(section) if isinstance(section, dict) else {}
    if {"train", "validation"} & given.keys() and kept.get("dataset") is not None:
        kept = {key: value for key, value in kept.items() if key not in _OF_A_DATASET}
    return {**kept, **given}


def parse_recipe(raw: dict[str, Any], source: str = "recipe") -> Recipe:
    """Validate a recipe given as nested mappings. Raises InputError in one line."""
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{source}: {explain(error)}") from error


def shipped_recipe(name: str) -> Path:
    """The path of a recipe that ships with the package, by its name without `.yaml`."""
    known = {path.stem: path for path in sorted(_RECIPES.glob("*.yaml"))}
    if name not in known:
        raise InputError(
            f"no shipped recipe is called {name!r}; give a .yaml file, or one of: {', '.join(known)}"
        )
    return known[name]
