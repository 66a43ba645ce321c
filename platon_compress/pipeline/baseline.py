"""The dense baseline: how many steps train it, or an earlier run's, so that a sweep over sparsities trains it once."""

from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.teaching import learns_from_itself
from platon_compress.recipe import DataSection, Recipe, load_recipe
from platon_compress.tasks.training import total_steps

__all__ = ["DATA_OF_TRAINING", "baseline_of", "baseline_steps"]

_SECTIONS = ("model", "train")
_CHOOSES_NOTHING = {"test", "test_split"}
# A training does not see the test rows: naming some does not make another one of it.
DATA_OF_TRAINING = tuple(f"data.{key}" for key in DataSection.model_fields if key not in _CHOOSES_NOTHING)


def baseline_steps(recipe: Recipe, examples: int) -> int:
    """Steps that train the baseline on so many examples: 0 where another run's is taken over, or the model as it is."""
    if recipe.dense is not None or learns_from_itself(recipe):
        return 0
    return total_steps(examples, recipe.train)


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
    for section in (*_SECTIONS, *taught, "data"):
        if _of_training(earlier, section) != _of_training(recipe, section):
            raise InputError(
                f"dense: {source} was trained with another {section} section; leave `dense` away to train the baseline anew"
            )
    folder = RunFolder.open(source, earlier.kind)
    result = folder.result("dense")
    folder.check_files("dense")
    return result


def _of_training(recipe: Recipe, section: str) -> Any:
    """What a training sees of a section."""
    value = getattr(recipe, section)
    return value.model_dump(exclude=_CHOOSES_NOTHING) if section == "data" and value is not None else value
