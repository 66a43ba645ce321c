"""The stage that prunes without training, and what `compress` checks of a model before anything is written."""

from typing import Any

from platon_compress.pipeline.preflight import check_compress, check_rival, spoken_model
from platon_compress.pipeline.workspace import Workspace
from platon_compress.tasks.checkpoint import Checkpoint

__all__ = ["check_given", "prune_once_stage"]


def check_given(work: Workspace, checkpoint: Checkpoint) -> None:
    """Before anything is written: what of a given model would stop a later stage."""
    check_compress(work.recipe, checkpoint, work.task if work.recipe.judges else None)
    for line in spoken_model(checkpoint):
        work.reporter.say(f"  {line}")
    if work.recipe.dense is not None:
        check_rival(work.dense, checkpoint)


def prune_once_stage(work: Workspace) -> dict[str, Any]:
    from platon_compress.oneshot import OneShotConfig, prune_once
    from platon_compress.tasks.calibration import calibration_batches

    section, checkpoint = work.recipe.oneshot, work.given()
    assert section is not None  # noqa: S101 - the stage is only for recipes that have the section
    config = OneShotConfig(sparsity=section.sparsity, method=section.method)
    seed, task = work.recipe.train.seed, work.recipe.model.task
    check_given(work, checkpoint)
    batches = calibration_batches(checkpoint, task, work.data, section.rows, seed)
    with work.reporter.progress(f"  {config.method}") as progress:
        result = prune_once(checkpoint.model, batches, config, progress=progress)
    with work.folder.new_folder(work.folder.work("prune")) as folder:
        checkpoint.save(folder)
    worst = max(result.layers, key=lambda layer: layer.error)
    work.reporter.say(
        f"  {len(result.layers)} layers from {result.examples} examples ({result.tokens:,} activation rows); largest "
        f"error: {worst.name}, {worst.error:.1%} of its output"
    )
    return {"oneshot": {**section.model_dump(), **result.to_dict()}}
