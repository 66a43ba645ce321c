"""The stages that train: what the data is, the dense baseline, the pruned model."""

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from platon_compress.pipeline.baseline import baseline_of, baseline_steps
from platon_compress.pipeline.costing import COSTS, UNIT_COSTS, ranking_costs, unit_costs
from platon_compress.pipeline.family import Keeper, keep, link_candidates
from platon_compress.pipeline.held import check_held
from platon_compress.pipeline.preflight import check_run, spoken_model, spoken_padding, spoken_precision
from platon_compress.pipeline.teaching import (
    check_teacher,
    learns_from_itself,
    spoken_distillation,
    teacher_of,
)
from platon_compress.pipeline.words import spoken_classes, spoken_result
from platon_compress.pipeline.workspace import Workspace
from platon_compress.pruning.held import masks_for
from platon_compress.tasks.training import (
    BATCH,
    TrainResult,
    freeze_parameters,
    prune_config,
    total_steps,
    train,
)

__all__ = ["data", "dense", "prune"]


def data(work: Workspace) -> dict[str, Any]:
    from platon_compress.pruning.preview import preview

    names = work.names
    steps = total_steps(len(work.training), work.recipe.pruning_training)
    dense_steps = baseline_steps(work.recipe, len(work.training))
    # Wrong targets, an impossible schedule or a teacher that does not fit must end the run here, not after the
    # dense training.
    student = work.fresh_checkpoint()
    freeze_parameters(student, work.recipe.model.freeze)
    held = work.held
    masks = None if held is None else check_held(work.recipe, held, student, work.task.head(names))
    shown = preview(student.model, prune_config(work.prune, steps, masks=masks))
    check_teacher(work.recipe, work.task, names, student)
    judged, encoded = zip(*work.judged, strict=True)
    check_run(work.recipe, work.task, student, judged, (work.training, *encoded))
    counted = f"{dense_steps} dense steps, {steps} pruning steps" if dense_steps else f"{steps} pruning steps"
    work.reporter.say(
        f"  {len(work.training)} training and {len(work.validation)} validation examples, "
        f"{spoken_classes(names)}{counted}; {shown.weights:,} of {shown.total_weights:,} weights are prunable"
    )
    spoken = spoken_model(student), spoken_precision(work.recipe), spoken_padding(work.recipe, work.training)
    for line in itertools.chain(*spoken):
        work.reporter.say(f"  {line}")
    if held is not None:
        work.reporter.say(f"  {held.spoken()}")
    if work.recipe.distill is not None:
        work.reporter.say(f"  {spoken_distillation(work.recipe, work.task)}")
    return {"train": len(work.training), "validation": len(work.validation), "classes": names}


def dense(work: Workspace) -> dict[str, Any]:
    if work.recipe.dense is None:
        return _as_it_is(work) if learns_from_itself(work.recipe) else _train(work, "dense")
    source = Path(work.recipe.dense)
    result = baseline_of(source, work.recipe)
    with work.folder.new_folder(work.folder.work("dense")) as folder:
        shutil.copytree(source / "stages" / "dense", folder, dirs_exist_ok=True)
    work.reporter.say(
        f"  reused from {source}: {spoken_result(result, work.task.name)} after {result['steps']} steps"
    )
    return result


def _as_it_is(work: Workspace) -> dict[str, Any]:
    """The model that is its own teacher: a baseline without a step."""
    from platon_compress.tasks.trainer import evaluate

    checkpoint = work.fresh_checkpoint()
    evaluation = work.task.evaluation(work.validation, checkpoint, BATCH)
    with work.reporter.progress("  dense") as progress:
        scores = evaluate(checkpoint.model, evaluation, progress)
    with work.folder.new_folder(work.folder.work("dense")) as folder:
        checkpoint.save(folder)
    entry = TrainResult(0, scores, evaluation.examples, ()).to_dict()
    work.reporter.say(f"  its own teacher, used without training: {spoken_result(entry, work.task.name)}")
    return entry


def prune(work: Workspace) -> dict[str, Any]:
    result, section = _train(work, "prune"), work.prune
    return {
        **result,
        "sparsity_target": section.target_sparsity,
        "granularity": section.granularity,
        "per_millisecond": section.per_millisecond,
    }


def _train(work: Workspace, stage: str) -> dict[str, Any]:
    held = work.held if stage == "prune" else None
    checkpoint = work.start() if stage == "prune" else work.fresh_checkpoint()
    settings = work.recipe.train if stage == "dense" else work.recipe.pruning_training
    steps = total_steps(len(work.training), settings)
    checkpoints = work.folder.checkpoints()
    teacher = teacher_of(work.recipe, stage, work.task, checkpoint, work.names, lambda: work.dense)
    pruning, masks = None, None if held is None else masks_for(checkpoint.model, held.masks)
    if stage == "prune":
        costs = ranking_costs(work, checkpoint, checkpoints), unit_costs(work, checkpoint, checkpoints)
        pruning = prune_config(work.prune, steps, *costs, masks=masks)
        steps = pruning.total_steps or steps
    _say_resumption(work, checkpoints, steps, stage == "prune")
    family = work.recipe.family if stage == "prune" else ()
    candidates = checkpoints / "candidates"
    keeper = Keeper(candidates, work.task, checkpoint, work.validation) if family else None
    with work.reporter.progress(f"  {stage}") as progress:
        result = train(
            work.task,
            checkpoint,
            work.training,
            work.validation,
            settings,
            pruning=pruning,
            teacher=teacher,
            freeze=work.recipe.model.freeze,
            work_folder=checkpoints,
            progress=progress,
            candidate=keeper,
            masks=masks,
            rounded=stage == "prune" and work.prune.quantize is not None,
        )
    if stage == "prune":
        result = replace(result, steps_before=work.start_steps)
    with work.folder.new_folder(work.folder.work(stage)) as folder:
        if family:
            link_candidates(candidates, folder)
        elif result.masks is not None:
            keep(folder, checkpoint, result.masks, result.scores, steps=result.all_steps)
        else:
            checkpoint.save(folder)
        for name in (COSTS, UNIT_COSTS):
            if (measured := checkpoints / name).is_file():
                shutil.copyfile(measured, folder / name)
    for warning in result.warnings:
        work.reporter.warn(warning)
    entry = result.to_dict()
    work.reporter.say(f"  {spoken_result(entry, work.task.name)} after {result.steps} steps")
    if result.expected_speedup is not None:
        work.reporter.say(
            f"  {result.expected_speedup:.2f} times as fast as dense, judging by the timed half blocks"
        )
    return {
        **entry,
        **({} if teacher is None else {"distillation": teacher.to_dict()}),
        **({} if held is None else {"held": {"masks_from": held.source, "from_dense": held.weights is None}}),
    }


def _say_resumption(work: Workspace, checkpoints: Path, steps: int, with_pruner: bool) -> None:
    """Where a training that was stopped goes on from."""
    from platon_compress.pruning import latest_complete_checkpoint

    last = latest_complete_checkpoint(checkpoints, with_pruner=with_pruner)
    if last is not None:
        work.reporter.say(f"  resuming from step {last.name.rpartition('-')[2]} of {steps}")
