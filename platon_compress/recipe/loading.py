"""From a YAML file and `--set` to a checked recipe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from platon_compress.errors import InputError, shown
from platon_compress.recipe.data import DATASET_KEYS, FILE_KEYS
from platon_compress.recipe.mistakes import explain
from platon_compress.recipe.overrides import apply_override
from platon_compress.recipe.schema import Recipe
from platon_compress.yaml_file import read_yaml

__all__ = ["PRESETS", "load_recipe", "parse_recipe", "shipped_recipe", "trusting"]

_RECIPES = Path(__file__).parents[1] / "recipes"
# Going on from the dense model costs no step more, and lost two points less: benchmarks/results/quality-topics.json.
_EVERY_PRESET = ("prune.from_dense=true", "distill.hidden=1", "plan.values=int8")
PRESETS: Mapping[str, tuple[str, ...]] = {
    # At 90 % this criterion loses less than PLATON's: benchmarks/results/quality-criteria.json.
    "fast": ("prune.sparsity=0.9", "prune.criterion=fisher", *_EVERY_PRESET),
    "balanced": ("prune.sparsity=0.8", *_EVERY_PRESET),
    "accurate": ("prune.sparsity=0.5", *_EVERY_PRESET),
}
"""Overrides that any recipe takes, beside `_PASSES`; what each is worth stands in docs/choosing-a-model.md."""

# Twice the baseline's passes lost nothing on topics, where as many lost 0.8 points: benchmarks/results/quality-topics.json.
_PASSES = 2


def load_recipe(
    path: Path,
    overrides: tuple[str, ...] = (),
    data: Mapping[str, str] | None = None,
    *,
    preset: str | None = None,
) -> Recipe:
    """Read a YAML recipe and apply `section.key=value` overrides, then the keys of the data section in `data`.

    preset: one of PRESETS, applied before the overrides. The training that prunes then takes twice `train.epochs`, unless
        the file or an override sets `prune.epochs`.

    Relative `data.train` and `data.validation` paths count from the current folder.
    Raises InputError, in one line, for a missing or broken file, unknown keys and wrong values.
    """
    raw, own = read_yaml(path), dict(data or {})
    _refuse_repeats(overrides, own)
    if preset is not None and preset not in PRESETS:
        raise InputError(f"no preset is called {shown(preset)}; use one of {', '.join(PRESETS)}")
    if _names_files(overrides, own):
        raw["data"] = _without_dataset(raw.get("data"))
    for override in (*PRESETS.get(preset or "", ()), *overrides):
        apply_override(raw, override)
    if own:
        raw["data"] = {**(raw["data"] if isinstance(raw.get("data"), dict) else {}), **own}
    recipe = parse_recipe(raw, source=str(path))
    if preset is None or recipe.prune is None or "epochs" in recipe.prune.model_fields_set:
        return recipe
    raw["prune"]["epochs"] = _PASSES * recipe.train.epochs
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


def _names_files(overrides: tuple[str, ...], data: Mapping[str, str]) -> bool:
    """Whether the command line names rows of its own, by a flag or by `--set`."""
    said: dict[str, Any] = {}
    for override in overrides:
        apply_override(said, override)
    section = said.get("data")
    named = {**section, **data} if isinstance(section, dict) else data
    return any(named.get(key) is not None for key in FILE_KEYS)


def _without_dataset(section: Any) -> Any:
    """Files that are named win over a data set of the recipe, and what describes that data set goes with it."""
    if not isinstance(section, dict) or section.get("dataset") is None:
        return section
    return {key: value for key, value in section.items() if key not in DATASET_KEYS}


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
