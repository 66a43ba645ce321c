"""The files that a recipe names, looked for before anything is read, trained or written."""

from collections.abc import Iterator
from pathlib import Path

from platon_compress.errors import InputError, shown
from platon_compress.recipe.data import FILE_KEYS
from platon_compress.recipe.schema import Recipe

__all__ = ["check_paths"]


def check_paths(recipe: Recipe) -> None:
    """Raises InputError, naming key and path, for a file or folder that does not exist."""
    for key, path in _named(recipe):
        try:
            there = Path(path).exists()
        except (OSError, ValueError):  # a name that is too long, or holds a zero byte
            there = False
        if not there:
            raise InputError(f"{key} {shown(path)} does not exist{_near(path)}; check the path")


def _named(recipe: Recipe) -> Iterator[tuple[str, str]]:
    if recipe.data is not None:
        for key in FILE_KEYS:
            path = getattr(recipe.data, key)
            if path is not None:
                flag = "--calibration" if key == "calibration" else "--data"
                yield (flag if recipe.kind == "compress" else f"data.{key}"), path
    if recipe.plan.cost_table is not None:
        yield "plan.cost_table", recipe.plan.cost_table
    if recipe.dense is not None and recipe.kind != "compress":
        yield "dense", recipe.dense


def _near(path: str) -> str:
    """The likeliest slip: the folder is there, the name is another one; or a relative path of elsewhere."""
    try:
        folder = Path(path).parent
        if folder.is_dir():
            return f" in {folder.resolve()}"
        return f" (nor does its folder {folder}, seen from {Path.cwd()})"
    except (OSError, ValueError):
        return ""
