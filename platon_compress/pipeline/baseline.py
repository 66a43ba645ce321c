"""Takes over the dense baseline of an earlier run, so that a sweep over sparsities trains it once."""

from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.recipe import Recipe, load_recipe

__all__ = ["baseline_of"]

_SECTIONS = ("model", "data", "train")


def baseline_of(source: Path, recipe: Recipe) -> dict[str, Any]:
    """The result of the dense stage of the run folder `source`.

    Raises InputError when `source` holds no finished baseline, or was trained differently from `recipe`: a
    baseline with other data or other steps would make the comparison worthless.
    """
    path = source / "recipe.yaml"
    if not path.is_file():
        raise InputError(f"dense: {source} holds no run (no recipe.yaml); name the folder of an earlier run")
    earlier = load_recipe(path)
    # Without labels the baseline was taught as well; with them it does not depend on the teacher.
    taught = ("distill",) if not (earlier.has_labels and recipe.has_labels) else ()
    for section in (*_SECTIONS, *taught):
        if getattr(earlier, section) != getattr(recipe, section):
            raise InputError(
                f"dense: {source} was trained with another {section} section; leave `dense` away to train the baseline anew"
            )
    folder = RunFolder.open(source, earlier.kind)
    result = folder.result("dense")
    folder.check_files("dense")
    return result
