"""Examples to judge by, texts of nearly one length together: what is padded is computed for nothing, by every route."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from platon_compress.scoring import Evaluation, Outputs, batch_rows
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.task import Task

__all__ = ["pooled_evaluation"]

_Judgement = TypeVar("_Judgement")
_POOL = 8
"""Batches whose examples are sorted together: so few that nearly every batch still holds padding, which is proved too."""


def pooled_evaluation(task: Task, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
    """`task.evaluation` with other examples in a batch, and the same answers in the same order.

    As it is for pictures, and where a batch holds something else than examples (each text of many pairs once).
    """
    evaluation = task.evaluation(examples, checkpoint, batch_size)
    lengths, others = examples.lengths, sum(map(batch_rows, evaluation.batches)) != len(examples)
    if evaluation.score is None or lengths is None or others:
        return evaluation
    order = _pooled(lengths, _POOL * batch_size)
    return replace(
        evaluation,
        batches=task.batches(Examples([examples.features[i] for i in order], ()), checkpoint, batch_size),
        score=_in_order(evaluation.score, order),
        decisions=None if evaluation.decisions is None else _in_order(evaluation.decisions, order),
    )


def _pooled(lengths: Sequence[int], pool: int) -> list[int]:
    """Places of all examples, each `pool` of them by length."""
    starts = range(0, len(lengths), pool)
    return [
        place
        for start in starts
        for place in sorted(range(start, min(start + pool, len(lengths))), key=lambda i: lengths[i])
    ]


def _in_order(
    judge: Callable[[Sequence[Outputs]], _Judgement], order: Sequence[int]
) -> Callable[[Sequence[Outputs]], _Judgement]:
    return lambda outputs: judge(_one_by_one(outputs, order))


def _one_by_one(outputs: Sequence[Outputs], order: Sequence[int]) -> list[Outputs]:
    """Each example's outputs as a batch of its own, in the examples' order; `order` is that in which they were computed."""
    found: dict[int, Outputs] = {}
    places = iter(order)
    for batch in outputs:
        for row in range(batch_rows(batch)):
            found[next(places)] = {name: values[row : row + 1] for name, values in batch.items()}
    return [found[place] for place in range(len(found))]
