"""What the stages share: data, checkpoints and intermediate models, read from the run folder once."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError
from platon_compress.pipeline.folder import RunFolder
from platon_compress.pipeline.held import Held, held_of, load_start
from platon_compress.pipeline.reporter import Reporter
from platon_compress.pipeline.teaching import given_teacher
from platon_compress.pruning.held import masks_for, read_masks
from platon_compress.recipe import DataSection, ModelSection, PruneSection, Recipe
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.dimensions import default_tokens
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.models import load_checkpoint, problem_of, read_config
from platon_compress.tasks.rooms import task_of
from platon_compress.tasks.task import Task
from platon_compress.tasks.untrained import build_model

if TYPE_CHECKING:
    from platon_compress.baking import BakedModel
    from platon_compress.conversion import CompressedModel
    from platon_compress.planning import Plan

__all__ = ["Workspace", "fresh_checkpoint", "names_of", "recipe_task"]

_PRUNE_AGAIN = "prune into a new folder"
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
        if self.recipe.prune.masks_from is not None:
            return self.recipe.prune.model_copy(update={"sparsity": self._held_sparsity})
        searched = self.folder.record("search")
        if searched is not None and self.recipe.searches_sparsity:
            return self.recipe.prune.model_copy(update={"sparsity": searched.result["sparsity"]})
        return self.recipe.prune

    @property
    def sparsity(self) -> float:
        """Of the model that is finished: the chosen candidate's, or what was pruned to."""
        chosen = self.folder.record("choose")
        if chosen is None or not self.recipe.chooses:
            return self.prune.target_sparsity
        return float(chosen.result["sparsity"])

    @cached_property
    def held(self) -> Held | None:
        """The masks that are taken over; None for a run that makes its own."""
        return held_of(self.recipe)

    @property
    def _held_sparsity(self) -> float:
        pruned = self.folder.record("prune")
        if pruned is not None:
            return float(pruned.result["sparsity_target"])
        assert self.held is not None  # noqa: S101 - the recipe names masks
        return self.held.sparsity

    @cached_property
    def task(self) -> Task:
        """The task that the recipe's data is for, with the model that its metrics may compare with."""
        task = recipe_task(self.recipe)
        if self.trains or self.recipe.dense is not None or self.recipe.oneshot is not None:
            task.reference = self._reference
        return task

    def _reference(self) -> Checkpoint:
        """The dense baseline; before there is one, what teaches it, or what it starts from."""
        if not self.trains or self.folder.record("dense"):
            return self.dense
        return given_teacher(self.recipe) or self.fresh_checkpoint()

    @cached_property
    def training_rows(self) -> Any:
        """Raw training rows."""
        return self.task.read("train", self.recipe.train.seed, labelled=self.recipe.has_labels)

    @cached_property
    def validation_rows(self) -> Any:
        """Raw validation rows: what curves and choices are made by."""
        return self.task.read("validation", self.recipe.train.seed)

    @cached_property
    def test_rows(self) -> Any:
        """Raw rows that choose nothing; the validation rows where the recipe names none."""
        return self.task.read("test", self.recipe.train.seed) if self.data.has_test else self.validation_rows

    @cached_property
    def names(self) -> list[str]:
        """Names of the model's outputs in their order; a task without classes has none."""
        if self.trains:
            return names_of(self.recipe, self.task, self.training_rows, self.validation_rows)
        return self.task.known_names(self.validation_rows, self.checkpoint)

    @cached_property
    def training(self) -> Examples:
        """Encoded training examples."""
        return self.task.encode(self.training_rows, self._processor_source, self.names)

    @cached_property
    def validation(self) -> Examples:
        """Encoded validation examples."""
        return self.task.encode(self.validation_rows, self._processor_source, self.names)

    @cached_property
    def test(self) -> Examples:
        """Encoded examples that the published metric is taken on."""
        if not self.data.has_test:
            return self.validation
        return self.task.encode(self.test_rows, self._processor_source, self.names)

    @property
    def judged(self) -> list[tuple[Any, Examples]]:
        """Rows and examples of every split that metrics are taken on."""
        validation, test = (self.validation_rows, self.validation), (self.test_rows, self.test)
        return [validation, test] if self.data.has_test else [validation]

    def fresh_checkpoint(self) -> Checkpoint:
        """The model as it is before any training; every call gives the same weights."""
        return fresh_checkpoint(self.recipe, self.task, self.names)

    def start(self) -> Checkpoint:
        """The model that the training that prunes starts from; every call loads it anew."""
        if self.held is not None and self.held.weights is not None:
            return load_start(self.recipe, self.held.weights, self.task.head(self.names))
        return self.unpruned_start()

    @property
    def start_steps(self) -> int:
        """Steps of training behind `start`."""
        held = self.held
        return self.unpruned_steps if held is None or held.weights is None else held.steps

    def unpruned_start(self) -> Checkpoint:
        """Where a model starts that is trained alike but not pruned; every call loads it anew."""
        return self._open(self.folder.work("dense")) if self.starts_from_dense else self.fresh_checkpoint()

    @property
    def unpruned_steps(self) -> int:
        """Steps of training behind `unpruned_start`."""
        return int(self.folder.result("dense")["steps"]) if self.starts_from_dense else 0

    @property
    def starts_from_dense(self) -> bool:
        """Whether that is the dense baseline, whose steps count then too."""
        return self.prune.from_dense if self.held is None else self.held.weights is None

    @cached_property
    def dense(self) -> Checkpoint:
        """The unpruned baseline: trained with the same steps, or given to `compress`."""
        if self.trains:
            return self._open(self.folder.work("dense"))
        return self.given() if self.recipe.dense is None else _load(self.recipe, self.recipe.dense)

    def pruned(self) -> Checkpoint:
        """The model with zeros, before baking (baking changes it in place, so it is loaded anew)."""
        if self.trains or self.recipe.oneshot is not None:
            return self._open(self._pruned_folder)
        return self.given()

    def candidate_folder(self, sparsity: float) -> Path:
        """Where a candidate lies: a member of the family, or the one that there is."""
        place = self.folder.work("prune")
        return place / f"{sparsity:g}" if self.recipe.family else place

    def candidate(self, folder: Path) -> tuple[Checkpoint, dict[str, Any]]:
        """A model before baking with its masks, True where a weight is kept."""
        checkpoint, masks = self._open(folder), read_masks(folder / "masks.safetensors", _PRUNE_AGAIN)
        return checkpoint, masks_for(checkpoint.model, masks)

    @property
    def _pruned_folder(self) -> Path:
        return self.candidate_folder(self.sparsity) if self.trains else self.folder.work("prune")

    def given(self) -> Checkpoint:
        """The model that `compress` was given; every call loads it anew."""
        return _load(self.recipe, str(self.recipe.model.name))

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

    def _open(self, folder: Path) -> Checkpoint:
        """A model that a stage wrote: every weight must be there."""
        return _load(self.recipe, str(folder))


def recipe_task(recipe: Recipe) -> Task:
    """The task of a recipe with data. Raises InputError without, or for a metric that the task does not have."""
    data = _data_of(recipe)
    if recipe.kind == "compress" and recipe.model.task == "text-classification":
        data = _with_problem(data, recipe.model)
    return task_of(recipe.model.task, data, recipe.metric)


def _with_problem(data: DataSection, section: ModelSection) -> DataSection:
    """A finished model says itself what it learnt. Raises InputError where the recipe says something else."""
    config = read_config(
        str(section.name), trust_remote_code=section.trust_remote_code, cache_dir=section.cache_dir
    )
    problem = problem_of(config)
    if "problem" in data.model_fields_set and data.problem != problem:
        raise InputError(
            f"data.problem is {data.problem}, but the model {str(section.name)!r} was trained for {problem} (problem_type "
            f"{config.problem_type}, {config.num_labels} outputs in its config.json); leave data.problem out"
        )
    return data.model_copy(update={"problem": problem})


def names_of(recipe: Recipe, task: Task, training: Any, validation: Any) -> list[str]:
    """Names of the model's outputs: from the training labels, or the given teacher's where there are none."""
    section = recipe.model
    if recipe.has_labels:
        trust, cache = section.trust_remote_code, section.cache_dir
        config = (
            None
            if section.name is None
            else read_config(section.name, trust_remote_code=trust, cache_dir=cache)
        )
        return task.names(training, config)
    teacher = given_teacher(recipe)
    assert teacher is not None  # noqa: S101 - a recipe without labels names its teacher
    return task.known_names(validation, teacher)


def _data_of(recipe: Recipe) -> DataSection:
    if recipe.data is None:
        raise InputError("this run has no data; name some with --data")
    return recipe.data


def fresh_checkpoint(recipe: Recipe, task: Task, names: list[str]) -> Checkpoint:
    """The recipe's model before any training; every call gives the same weights."""
    import torch

    section = recipe.model
    if section.config is not None:
        return build_model(section.config, section.task, task.head(names) or {}, recipe.train.seed)
    # A new classification head draws from torch's generator.
    torch.manual_seed(recipe.train.seed)
    return _load(recipe, str(section.name), task.head(names))


def _load(recipe: Recipe, name: str, head: Mapping[str, Any] | None = None) -> Checkpoint:
    section = recipe.model
    return load_checkpoint(
        name,
        section.task,
        head=head,
        trust_remote_code=section.trust_remote_code,
        cache_dir=section.cache_dir,
    )
