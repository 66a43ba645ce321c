"""Masks that a run takes over (`prune.masks_from`), and the weights that its training goes on from.

Rules:

1. The source is the folder of a run whose model is pruned (of a family the chosen member), or a safetensors file of bool
   masks by the names of parameters, in the model or in its files, or the folder of one. A run that was pruned without
   training gives the zeros of its model.
2. The weights are those that lie beside the masks: they were trained, or repaired, for them. Where none lie there, they are
   those of the dense baseline.
3. The masks name parameters of the recipe's model, in its shapes; the weights are those of the same architecture, and
   both read their inputs alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError
from platon_compress.files import read_json
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pruning.held import check_masks, mask_sparsity, masks_for, read_masks
from platon_compress.recipe import Recipe, load_recipe
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.models import load_checkpoint

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Held", "check_held", "held_of", "load_start"]

_MASKS = "masks.safetensors"
_CURE = "name the folder of a run that has finished pruning, or a file of masks"


@dataclass(frozen=True, kw_only=True)
class Held:
    """Masks as they are named in the file, True = kept. `weights`: the folder of the model to go on from, with the `steps`
    of training behind it; None for the dense baseline."""

    source: str
    masks: "Mapping[str, Tensor]"
    weights: Path | None
    steps: int

    @cached_property
    def sparsity(self) -> float:
        """Share of the masked parameters that is zero."""
        return mask_sparsity(self.masks)

    def spoken(self) -> str:
        """One line for a person."""
        start = "the dense baseline" if self.weights is None else "the weights stored with them"
        steps = f" ({self.steps} steps)" if self.weights is not None and self.steps else ""
        return (
            f"the masks of {self.source} are fixed from the first step, {self.sparsity:.1%} zeros in "
            f"{len(self.masks)} weights; training continues from {start}{steps}"
        )


def held_of(recipe: Recipe) -> Held | None:
    """What `prune.masks_from` names (rules 1 and 2); None without it. Raises InputError for anything else than masks."""
    source = None if recipe.prune is None else recipe.prune.masks_from
    if source is None:
        return None
    path = Path(source)
    if path.is_file():
        return _of_file(source, path)
    if (path / _MASKS).is_file():
        return _of_file(source, path / _MASKS)
    if not (path / "recipe.yaml").is_file():
        what = "holds neither a run nor masks" if path.exists() else "does not exist"
        raise InputError(f"prune.masks_from: {source} {what}; {_CURE}")
    return _of_run(source, path, recipe)


def check_held(
    recipe: Recipe, held: Held, student: Checkpoint, head: Mapping[str, Any] | None
) -> "dict[str, Tensor]":
    """The masks by the student's names. Raises InputError where masks or weights are those of another model (rule 3)."""
    from platon_compress.tasks.distillation import read_alike

    masks = masks_for(student.model, held.masks)
    try:
        check_masks(student.model, masks)
    except InputError as error:
        raise InputError(f"prune.masks_from: {error}") from error
    if held.weights is None:
        return masks
    start = load_start(recipe, held.weights, head)
    ours, theirs = ({n: tuple(p.shape) for n, p in c.model.named_parameters()} for c in (student, start))
    if ours != theirs:
        name = next(n for n in sorted({*ours, *theirs}) if ours.get(n) != theirs.get(n))
        raise InputError(
            f"prune.masks_from: the model beside the masks has {name} of shape {theirs.get(name)}, the recipe's "
            f"{ours.get(name)}; name a run of the same model"
        )
    if not read_alike(student, start):
        raise InputError(
            f"prune.masks_from: the model in {held.weights} reads its inputs differently from the recipe's; name a run of "
            "the same model"
        )
    return masks


def load_start(recipe: Recipe, folder: Path, head: Mapping[str, Any] | None) -> Checkpoint:
    """The model beside the masks, for the recipe's task; a head of other classes is drawn anew. Raises InputError."""
    import torch

    section = recipe.model
    torch.manual_seed(recipe.train.seed)
    try:
        return load_checkpoint(
            str(folder),
            section.task,
            head=head,
            trust_remote_code=section.trust_remote_code,
            cache_dir=section.cache_dir,
        )
    except InputError as error:
        raise InputError(f"prune.masks_from: {error}") from error


def _of_run(source: str, path: Path, recipe: Recipe) -> Held:
    earlier = load_recipe(path / "recipe.yaml")
    folder = RunFolder.open(path, earlier.kind)
    stage = "bake" if earlier.kind == "compress" else "prune"
    folder.result(stage)
    folder.check_files(stage)
    if earlier.kind == "compress":
        return Held(source=source, masks=_zeros(recipe, folder), weights=folder.model, steps=0)
    place = folder.work("prune")
    if earlier.family:
        place /= f"{folder.result('choose')['sparsity']:g}"
    return _of_file(source, place / _MASKS)


def _of_file(source: str, path: Path) -> Held:
    masks = read_masks(path, _CURE)
    beside = any((path.parent / name).is_file() for name in ("config.json", "modules.json"))
    steps = 0
    if beside and (path.parent / "scores.json").is_file():
        found = read_json(path.parent / "scores.json", _CURE).get("steps")
        steps = found if isinstance(found, int) and found > 0 else 0
    return Held(source=source, masks=masks, weights=path.parent if beside else None, steps=steps)


def _zeros(recipe: Recipe, folder: RunFolder) -> dict[str, Any]:
    """Where the weights of a baked model are not zero."""
    from platon_compress.baking import read_baked

    model = load_start(recipe, folder.model, {}).model
    baked = read_baked(model, folder.read_json("model/bake.json"))
    return {weight.name: model.get_parameter(weight.name).detach() != 0 for weight in baked.weights}
