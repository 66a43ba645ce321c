"""What would stop a run hours later, looked for before its first step: one small check a function.

Everything is really done once: rows are encoded, the model runs on a batch of them and on the longest input that will
be timed. A check returns nothing and raises InputError, with the cure.
"""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError, first_line
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.dimensions import default_tokens, positions, taken_inputs, vocabulary
from platon_compress.tasks.examples import Examples
from platon_compress.tasks.synthetic import synthetic_batches
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    import torch

__all__ = [
    "check_batch",
    "check_blocks",
    "check_inputs",
    "check_lengths",
    "check_tokenizer",
    "check_validation",
    "run_once",
    "seconds_per_step",
]

_BATCH = 8
_TRIES, _PATIENCE = 3, 5.0  # batches that are timed, and the seconds after which no other one is


def check_blocks(checkpoint: Checkpoint) -> None:
    """The model has what is pruned: repeated blocks of linear layers."""
    from platon_compress.structure import find_blocks

    if not find_blocks(checkpoint.model):
        raise InputError(
            f"{type(checkpoint.model).__name__} has no repeated blocks of linear layers (those of GPT-2 are "
            "convolutions), and nothing else is pruned; take a BERT-like encoder"
        )


def check_inputs(checkpoint: Checkpoint) -> None:
    """A text model reads words, and hides the padding of a batch."""
    if checkpoint.modality == "image":
        return
    vocabulary(checkpoint.model)
    lacking = {"input_ids", "attention_mask"} - taken_inputs(checkpoint.model)
    if lacking:
        raise InputError(
            f"{type(checkpoint.model).__name__} takes no {' and no '.join(sorted(lacking))}, so padding would change its "
            "answers; take a BERT-like encoder"
        )


def check_tokenizer(checkpoint: Checkpoint) -> None:
    """The tokenizer can pad, and its special tokens are in the model's table of words."""
    processor: Any = checkpoint.processor
    if checkpoint.modality == "image" or processor is None:
        return
    if processor.pad_token_id is None:
        raise InputError(
            "the tokenizer has no padding token, so texts of different lengths make no batch; set tokenizer.pad_token "
            "(often to tokenizer.eos_token) and save it beside the model"
        )
    words = vocabulary(checkpoint.model)
    beyond = [
        token for token in processor.all_special_tokens if processor.convert_tokens_to_ids(token) >= words
    ]
    if beyond:
        raise InputError(
            f"the tokenizer's {beyond[0]} is token {processor.convert_tokens_to_ids(beyond[0])}, but the model's table "
            f"has {words} words; save the tokenizer that belongs to the model, or resize its embeddings"
        )


def check_validation(task: Task, rows: Any, examples: int) -> None:
    """There are rows enough to verify, on which the metric says something."""
    if len(rows) < examples:
        raise InputError(
            f"the {rows.origin.name} gives {len(rows)} validation rows, and verifying needs {examples}; "
            "give more rows (data.validation_rows must not cut them)"
        )
    task.check_rows(rows)


def check_batch(checkpoint: Checkpoint, task: Task | None = None, examples: Examples | None = None) -> None:
    """The model runs on rows as they are encoded (or random ones), and answers as its task wants it."""
    if task is None or examples is None:
        run_once(
            checkpoint, _tensors(synthetic_batches(checkpoint, examples=2, tokens=_short(checkpoint))[0])
        )
        return
    batch = task.collate([examples[i] for i in range(min(_BATCH, len(examples)))], checkpoint.processor)
    outputs = run_once(checkpoint, batch, task)
    task.check_answers(outputs, batch, checkpoint)


def check_lengths(checkpoint: Checkpoint, lengths: Mapping[str, Sequence[int] | None]) -> None:
    """The model takes every number of tokens that is planned or timed for; `lengths` by the setting's name."""
    if checkpoint.modality == "image":
        _check_picture_tokens(checkpoint, lengths)
        return
    limit = positions(checkpoint.model)
    named = [(max(values), key) for key, values in lengths.items() if values]
    for tokens, key in named:
        if limit is not None and tokens > limit:
            raise InputError(f"{key} is {tokens}, but the model has {limit} positions; lower it")
    if named:
        run_once(checkpoint, _tensors(synthetic_batches(checkpoint, examples=1, tokens=max(named)[0])[0]))


def _check_picture_tokens(checkpoint: Checkpoint, lengths: Mapping[str, Sequence[int] | None]) -> None:
    """Tokens of a picture are given, or known from the config."""
    if not any(lengths.values()):
        default_tokens(checkpoint)


def seconds_per_step(task: Task, checkpoint: Checkpoint, examples: Examples, batch_size: int) -> float:
    """One forward and backward pass of one batch, after a smaller one; gradients are dropped. An estimate.

    The fastest of up to three, where they are short: on a busy machine any of them may be held up.
    """
    model = checkpoint.model.train()
    most = min(batch_size, len(examples))

    def step(size: int) -> float:
        batch = task.collate([examples[i] for i in range(size)], checkpoint.processor)
        start = time.perf_counter()
        outputs = task.forward(model, batch)
        # A teacher's loss costs about as much as that on labels; against itself it needs no teacher here.
        loss = task.loss(outputs, batch) if "labels" in batch else task.taught(outputs, outputs, batch, 1.0)
        loss.backward()
        seconds = time.perf_counter() - start
        model.zero_grad(set_to_none=True)
        return seconds

    step(min(2, most))
    times = [step(most)]
    while len(times) < _TRIES and sum(times) < _PATIENCE:
        times.append(step(most))
    model.eval()
    return min(times)


def run_once(checkpoint: Checkpoint, inputs: "Mapping[str, torch.Tensor]", task: Task | None = None) -> Any:
    """The outputs for one batch. Whatever the model says against it is the reason of the refusal."""
    import torch

    from platon_compress.incoming import steady

    shown = ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
    with torch.inference_mode(), steady(checkpoint.model):
        try:
            return checkpoint.model(**inputs) if task is None else task.forward(checkpoint.model, inputs)
        except Exception as error:  # a model's own code raises anything
            raise InputError(
                f"{type(checkpoint.model).__name__} does not run on {shown}: {first_line(error)}; "
                "fix its config.json or preprocessor, or take a BERT-like encoder"
            ) from error


def _tensors(batch: Mapping[str, np.ndarray]) -> "dict[str, torch.Tensor]":
    import torch

    return {name: torch.from_numpy(array) for name, array in batch.items()}


def _short(checkpoint: Checkpoint) -> int:
    return 8 if checkpoint.modality == "image" else min(8, positions(checkpoint.model) or 8)
