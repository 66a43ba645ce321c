"""The checks of a whole run before its first step, for `run`, `compress` and the dry run alike."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.pipeline.baseline import baseline_of
from platon_compress.pipeline.exporting import plain_config
from platon_compress.recipe import Recipe
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.preflight import (
    check_batch,
    check_blocks,
    check_inputs,
    check_lengths,
    check_tokenizer,
    check_validation,
)
from platon_compress.tasks.task import Task

__all__ = ["check_compress", "check_rival", "check_run", "spoken_model", "spoken_padding", "spoken_precision"]

_MUCH_PADDING = 0.3


def check_run(
    recipe: Recipe, task: Task, student: Checkpoint, judged: Sequence[Any], encoded: Sequence[Examples]
) -> None:
    """Raise InputError for what would stop a training run later; `judged` are the rows that metrics are taken on."""
    _check_settings(recipe)
    if recipe.dense is not None:
        baseline_of(Path(recipe.dense), recipe)
    for rows in judged:
        check_validation(task, rows, recipe.verify.examples)
    _check_model(recipe, student)
    for examples in encoded:
        check_batch(student, task, examples)
    _check_export(student, recipe)


def check_compress(recipe: Recipe, checkpoint: Checkpoint, task: Task | None = None) -> None:
    """Raise InputError for what would stop `compress` later, before anything is baked or written; `task`: with data."""
    _check_settings(recipe)
    check_blocks(checkpoint)
    examples = None
    if task is not None:
        rows = task.read("validation", recipe.train.seed)
        names = task.known_names(rows, checkpoint)
        check_validation(task, rows, recipe.verify.examples)
        check_tokenizer(checkpoint)
        examples = task.encode(rows, checkpoint, names)
    _check_model(recipe, checkpoint)
    check_batch(checkpoint, task, examples)
    _check_export(checkpoint, recipe)


def check_rival(dense: Checkpoint, checkpoint: Checkpoint) -> None:
    """Raise InputError when the model to compare with answers another question."""
    ours, theirs = (len(c.model.config.id2label) for c in (checkpoint, dense))  # type: ignore[union-attr,arg-type]
    if ours != theirs:
        raise InputError(
            f"--dense has {theirs} classes, the model has {ours}; give the model that it was pruned from"
        )


def spoken_model(checkpoint: Checkpoint) -> Iterator[str]:
    """Lines for a person: what the checkpoint did not hold, and what stands in its place."""
    if checkpoint.drawn:
        parts = sorted({name.rpartition(".")[0] for name in checkpoint.drawn})
        yield f"the checkpoint has no {', '.join(parts)}: initialised at random and trained"
    if checkpoint.sentence is not None and checkpoint.sentence.assumed:
        yield "the model has no modules.json: mean pooling is assumed, and a modules.json will say so"


def spoken_precision(recipe: Recipe) -> Iterator[str]:
    """A line where the training would be faster in bfloat16, on the processor alone."""
    import torch

    from platon_compress.measure.environment import bfloat16_flag

    flag = None if recipe.train.bf16 or torch.cuda.is_available() else bfloat16_flag()
    if flag is not None:
        yield f"this processor multiplies bfloat16 natively ({flag}): --set train.bf16=true trains faster"


def spoken_padding(recipe: Recipe, training: Examples) -> Iterator[str]:
    """A line where batches of nearly one length would leave out much that is padded."""
    from platon_compress.tasks.grouping import padded_share

    lengths = None if recipe.train.group_by_length else training.lengths
    share = 0.0 if lengths is None else padded_share(lengths, recipe.train.batch_size)
    if share > _MUCH_PADDING:
        yield (
            f"{share:.0%} of what a step computes is padding: --set train.group_by_length=true avoids most of it, "
            "but cost up to half a point of accuracy where we measured it"
        )


def _check_export(checkpoint: Checkpoint, recipe: Recipe) -> None:
    from platon_compress.tasks.trial import check_export  # loads torch, which most refusals do without

    check_export(checkpoint, plain_config(recipe))


def _check_model(recipe: Recipe, checkpoint: Checkpoint) -> None:
    check_inputs(checkpoint)
    check_tokenizer(checkpoint)
    lengths = {
        "plan.tokens (--tokens of compress)": None if recipe.plan.tokens is None else (recipe.plan.tokens,),
        "bench.tokens": recipe.bench.tokens,
    }
    check_lengths(checkpoint, lengths)


def _check_settings(recipe: Recipe) -> None:
    """Settings that have rules of their own, which their stages would only say later."""
    from platon_compress.library import selected_kernel
    from platon_compress.measure.config import BenchConfig
    from platon_compress.planning.cost import CostTable

    selected_kernel()  # the operator library is there, and has the kernels that PLATON_FORCE_ISA asks for
    if recipe.plan.cost_table is not None:
        CostTable.load(Path(recipe.plan.cost_table))
    plain_config(recipe)
    bench = recipe.bench
    BenchConfig(
        batch=bench.batch,
        tokens=bench.tokens or (recipe.plan.tokens or 1,),
        runs=bench.runs,
        threads=bench.threads or recipe.plan.threads,
        device=bench.device,
    )
