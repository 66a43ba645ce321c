"""What the stages share: data, checkpoints and intermediate models, read from the run folder once."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from platon_compress.errors import InputError, first_line
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.teaching import given_teacher
from platon_compress.recipe import DataSection, PruneSection, Recipe
from platon_compress.tasks.data.tables import Rows, read_split
from platon_compress.tasks.dimensions import default_tokens
from platon_compress.tasks.examples import Examples, class_names, encode, in_model_order, known_class_names
from platon_compress.tasks.models import (
    Checkpoint,
    build_model,
    load_checkpoint,
    read_config,
)

if TYPE_CHECKING:
    from platon_compress.baking import BakedModel
    from platon_compress.conversion import CompressedModel
    from platon_compress.planning import Plan

__all__ = ["Workspace", "fresh_checkpoint", "labels_of", "rows_of"]

# What was read of a stage's result, and is old when the stage has run again.
_READ = {
    "dense": ("dense",),
    "bake": ("checkpoint", "baked", "_processor_source"),
    "plan": ("plan",),
    "convert": ("compressed",),
}


class Workspace:
    """One run: its folder, its recipe, and everything a stage may need, read lazily and kept.

    A stage reads only what earlier stages wrote.
    """

    def __init__(self, folder: RunFolder, recipe: Recipe, reporter: Reporter) -> None:
        self.folder = folder
        self.recipe = recipe
        self.reporter = reporter

    @property
    def trains(self) -> bool:
        """Whether this run trains; `compress` does not."""
        return self.recipe.kind != "compress"

    @property
    def data(self) -> DataSection:
        """The recipe's data section. Raises InputError when it has none."""
        return _data_of(self.recipe)

    @property
    def prune(self) -> PruneSection:
        """The recipe's prune section. Raises InputError when it has none."""
        if self.recipe.prune is None:
            raise InputError("this run has no prune section; compress takes a model that holds zeros already")
        return self.recipe.prune

    @cached_property
    def training_rows(self) -> Rows:
        """Raw training rows."""
        return self._rows("train")

    @cached_property
    def validation_rows(self) -> Rows:
        """Raw validation rows."""
        return self._rows("validation")

    @cached_property
    def labels(self) -> list[str]:
        """Class names; their order is the model's output order."""
        if self.trains:
            return labels_of(self.recipe, self.training_rows, self.validation_rows)
        return known_class_names(self.validation_rows, self.checkpoint)

    @cached_property
    def training(self) -> Examples:
        """Encoded training examples."""
        return encode(self.training_rows, self._processor_source, self.labels, self.data.max_length)

    @cached_property
    def validation(self) -> Examples:
        """Encoded validation examples."""
        return encode(self.validation_rows, self._processor_source, self.labels, self.data.max_length)

    def fresh_checkpoint(self) -> Checkpoint:
        """The model as it is before any training; every call gives the same weights."""
        return fresh_checkpoint(self.recipe, self.labels)

    @cached_property
    def dense(self) -> Checkpoint:
        """The unpruned baseline: trained with the same steps, or given to `compress`."""
        if self.trains:
            return self._open(self.folder.work("dense"))
        return _load(self.recipe, self.recipe.dense) if self.recipe.dense else self.pruned()

    def pruned(self) -> Checkpoint:
        """The model with zeros, before baking (baking changes it in place, so it is loaded anew)."""
        if self.trains:
            return self._open(self.folder.work("prune"))
        return _load(self.recipe, str(self.recipe.model.name))

    def masks(self) -> dict[str, Any] | None:
        """The pruner's last masks, True where a weight is kept; None for a foreign checkpoint."""
        if not self.trains:
            return None
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.folder.work("prune") / "masks.safetensors"
        try:
            masks = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read {path}: {first_line(error)}; prune into a new folder") from error
        if any(str(mask.dtype) != "torch.bool" for mask in masks.values()) or not any(
            bool(mask.any()) for mask in masks.values()
        ):
            raise InputError(f"{path} holds no masks that keep a weight; prune into a new folder")
        return dict(masks)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The baked model, as saved under `model/`."""
        return self._open(self.folder.model)

    @cached_property
    def baked(self) -> "BakedModel":
        """The baked model with its counts, as saved under `model/`."""
        from platon_compress.baking import read_baked

        return read_baked(self.checkpoint.model, self.folder.read_json("model/bake.json"))

    @cached_property
    def plan(self) -> "Plan":
        """The plan as written to plan.json."""
        from platon_compress.planning import Plan

        return Plan.from_dict(self.folder.read_json("plan.json"))

    @cached_property
    def compressed(self) -> "CompressedModel":
        """The converted model, as saved under `compressed/`."""
        from platon_compress.compressed import load_compressed

        # A class that came with the model's own code is known from the baked one alone.
        kind = type(self.checkpoint.model)
        return load_compressed(self.folder.compressed, attn_implementation="eager", model_class=kind)

    def forget(self, stage: str) -> None:
        """Drop what was read before `stage` wrote it anew."""
        for name in _READ.get(stage, ()):
            self.__dict__.pop(name, None)

    def sequence_length(self, checkpoint: Checkpoint | None = None) -> int:
        """Tokens per example that the plan is made for; default: what the (baked) model takes."""
        if self.recipe.plan.tokens is not None:
            return self.recipe.plan.tokens
        max_length = self.recipe.data.max_length if self.recipe.data else None
        return default_tokens(self.checkpoint if checkpoint is None else checkpoint, max_length)

    @cached_property
    def _processor_source(self) -> Checkpoint:
        return self.checkpoint if self.folder.record("bake") else self.fresh_checkpoint()

    def _rows(self, split: str) -> Rows:
        return rows_of(self.recipe, split)

    def _open(self, folder: Path) -> Checkpoint:
        """A model that a stage wrote: every weight must be there."""
        return _load(self.recipe, str(folder))


def rows_of(recipe: Recipe, split: str) -> Rows:
    """The raw rows of "train" or "validation"; only training rows may lack labels."""
    labelled = recipe.has_labels or split != "train"
    rows = read_split(_data_of(recipe), split, recipe.model.task, recipe.train.seed, labelled=labelled)
    return cast(Rows, rows)


def labels_of(recipe: Recipe, training: Rows, validation: Rows) -> list[str]:
    """Class names in the order of the model's outputs: the training labels', or the given teacher's."""
    section = recipe.model
    if recipe.has_labels:
        names = class_names(training)
        if section.name is None:
            return names
        trust, cache = section.trust_remote_code, section.cache_dir
        return in_model_order(names, read_config(section.name, trust_remote_code=trust, cache_dir=cache))
    teacher = given_teacher(recipe)
    assert teacher is not None  # noqa: S101 - a recipe without labels names its teacher
    return known_class_names(validation, teacher)


def _data_of(recipe: Recipe) -> DataSection:
    if recipe.data is None:
        raise InputError("this run has no data; name some with --data")
    return recipe.data


def fresh_checkpoint(recipe: Recipe, labels: list[str]) -> Checkpoint:
    """The recipe's model before any training; every call gives the same weights."""
    import torch

    section = recipe.model
    if section.config is not None:
        return build_model(section.config, section.task, labels, recipe.train.seed)
    # A new classification head draws from torch's generator.
    torch.manual_seed(recipe.train.seed)
    return _load(recipe, str(section.name), labels)


def _load(recipe: Recipe, name: str, labels: list[str] | None = None) -> Checkpoint:
    section = recipe.model
    return load_checkpoint(
        name,
        section.task,
        labels=labels,
        trust_remote_code=section.trust_remote_code,
        cache_dir=section.cache_dir,
    )
