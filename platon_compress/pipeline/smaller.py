"""The rival that costs no library: the dense model with every second layer, equally trained and distilled; and its int8."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.measure.peers.compare import SMALLER_FILES
from platon_compress.measure.peers.result import EVERY_SECOND_LAYER
from platon_compress.pipeline.baseline import DATA_OF_TRAINING
from platon_compress.pipeline.exporting import rival_config
from platon_compress.pipeline.stage import Stage
from platon_compress.pipeline.teaching import teacher_of
from platon_compress.pipeline.verifying import CHOOSING_EXAMPLES, verification
from platon_compress.pipeline.words import spoken_result
from platon_compress.pipeline.workspace import Workspace
from platon_compress.recipe import Recipe
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.synthetic import example_inputs
from platon_compress.tasks.training import TrainResult, train

__all__ = ["smaller_files", "smaller_stage", "train_unpruned"]


def smaller_stage(recipe: Recipe) -> Stage:
    """Trains it; no stage of a run of its own accord. Raises InputError for a run that trains nothing."""
    if recipe.kind == "compress":
        raise InputError(
            f"{EVERY_SECOND_LAYER} is trained as the pruned model was, and compress trains nothing; leave it out of --peers"
        )
    return Stage(
        name=EVERY_SECOND_LAYER,
        title="train the dense model with every second layer",
        run=_train,
        uses=_uses,
        needs=("data", "dense"),
        outputs=(f"stages/{EVERY_SECOND_LAYER}",),
    )


def smaller_files(work: Workspace) -> dict[str, Path]:
    """Its ONNX files by what they are called in a comparison, once the stage has run; int8 is not always possible."""
    files = {name: work.folder.path / file for name, file in SMALLER_FILES.items()}
    return {name: path for name, path in files.items() if path.is_file()}


def _uses(recipe: Recipe) -> tuple[str, ...]:
    shared = (f"prune.{key}" for key in ("from_dense", *recipe.shared_settings))
    return ("model", *DATA_OF_TRAINING, "train", "distill", *shared, "export")


def train_unpruned(work: Workspace, checkpoint: Checkpoint, checkpoints: Path) -> TrainResult:
    """Train `checkpoint`, of `unpruned_start`, as the run's pruned model is: steps, seed and teacher, without the pruning.

    A killed training goes on from what lies in `checkpoints`.
    """
    teacher = teacher_of(work.recipe, "prune", work.task, checkpoint, work.names, lambda: work.dense)
    with work.reporter.progress("  training") as progress:
        result = train(
            work.task,
            checkpoint,
            work.training,
            work.validation,
            work.recipe.unpruned_training,
            teacher=teacher,
            freeze=work.recipe.model.freeze,
            work_folder=checkpoints,
            progress=progress,
        )
    return replace(result, steps_before=work.unpruned_steps)


def _train(work: Workspace) -> dict[str, Any]:
    from platon_compress.export import export_onnx
    from platon_compress.export.int8 import quantize_int8
    from platon_compress.structure import keep_every_second_layer

    checkpoint = work.unpruned_start()
    keep_every_second_layer(checkpoint.model)
    result = train_unpruned(work, checkpoint, work.folder.checkpoints())
    with work.folder.new_folder(work.folder.work(EVERY_SECOND_LAYER)) as folder:
        checkpoint.save(folder)
        dense, int8 = (folder / Path(file).name for file in SMALLER_FILES.values())
        export_onnx(checkpoint.model, dense, example_inputs(checkpoint), rival_config(work.recipe))
        try:
            quantize_int8(dense, int8, verification(work, "validation", CHOOSING_EXAMPLES))
        except InputError as error:
            work.reporter.warn(str(error))
    entry = result.to_dict()
    work.reporter.say(f"  {spoken_result(entry, work.task.name)} after {result.steps} steps")
    return entry
