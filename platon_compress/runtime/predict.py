"""Scores of whole inputs: texts, pairs of texts, images."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.progress import Progress
from platon_compress.runtime.batches import Batch
from platon_compress.runtime.folder import ModelFolder
from platon_compress.runtime.numbers import Floats, sigmoid, softmax
from platon_compress.runtime.texts import TextEngine
from platon_compress.runtime.tokens import Text

__all__ = ["Predictions", "activation_of", "first_rows", "predict", "predictions"]

_ACTIVATIONS = {"Sigmoid": "sigmoid", "Identity": "none"}  # torch's classes, by name


@dataclass(frozen=True)
class Predictions:
    """`logits` float32 [inputs, outputs] as the file gives them, and what they mean.

    names: of the outputs. activation: "softmax" over exclusive labels, "sigmoid" of each output by itself, or "none"
    (regression, raw scores).
    """

    logits: Floats
    names: tuple[str, ...]
    activation: str

    @cached_property
    def probabilities(self) -> Floats:
        """[inputs, outputs]. With the activation "none" they are the logits."""
        return {"softmax": softmax, "sigmoid": sigmoid}.get(self.activation, lambda values: values)(
            self.logits
        )

    @property
    def scores(self) -> Floats:
        """[inputs]: the one output's score (a cross-encoder, a regression), or the best label's probability."""
        return self.probabilities.max(axis=1)

    @property
    def labels(self) -> list[str]:
        """The best label of every input."""
        return [self.names[place] for place in self.logits.argmax(axis=1)]

    def above(self, threshold: float = 0.5) -> list[tuple[str, ...]]:
        """Every label whose probability passes `threshold`: those of a multi-label model."""
        return [
            tuple(name for name, value in zip(self.names, row, strict=True) if value > threshold)
            for row in self.probabilities
        ]

    def __len__(self) -> int:
        return len(self.logits)


def activation_of(folder: ModelFolder, outputs: int) -> str:
    """As transformers' pipeline and sentence-transformers' CrossEncoder choose it."""
    problem = folder.config.get("problem_type")
    if outputs != 1:
        return "sigmoid" if problem == "multi_label_classification" else "softmax"
    inside = folder.config.get("sentence_transformers") or {}
    named = inside.get("activation_fn") or folder.config.get("sbert_ce_default_activation_function")
    named = folder.sentence_settings.get("activation_fn") or named
    if named is None:
        return "none" if problem == "regression" else "sigmoid"
    kind = str(named).rpartition(".")[2]
    if kind not in _ACTIVATIONS:
        raise InputError(
            f"the activation {kind} is not known here; take .logits, or save it as Sigmoid or Identity"
        )
    return _ACTIVATIONS[kind]


def predict(
    folder: ModelFolder,
    texts: TextEngine,
    inputs: Sequence[Text],
    *,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> Predictions:
    """Of every text, or pair of texts. Raises InputError for anything else."""
    rows = texts.run_whole(_checked(inputs), first_rows, batch_size=batch_size, progress=progress)
    return predictions(folder, rows)


def first_rows(batch: Batch) -> Floats:
    """The first output, [batch, outputs]. Raises InputError when it has other axes."""
    if batch.first.ndim != 2:
        raise InputError(
            f"the model's first output has {batch.first.ndim} axes, scores need [batch, outputs]; export it with its head"
        )
    return batch.first.astype(np.float32)


def predictions(folder: ModelFolder, rows: Sequence[Any]) -> Predictions:
    """Of rows [outputs]; with none, the labels of config.json say how many outputs there would be."""
    if not rows:
        names = tuple(str(name) for name in (folder.config.get("id2label") or {}).values())
        return Predictions(np.zeros((0, len(names)), np.float32), names, activation_of(folder, len(names)))
    logits = np.stack(rows)
    outputs = logits.shape[1]
    return Predictions(logits, folder.labels(outputs), activation_of(folder, outputs))


def _checked(inputs: Any) -> list[Text]:
    if isinstance(inputs, str) or not isinstance(inputs, Sequence):
        raise InputError(
            f"give a list of texts or of pairs, got a {type(inputs).__name__}; write [text] or [(query, passage)]"
        )
    checked: list[Text] = []
    for number, entry in enumerate(inputs):
        if isinstance(entry, str):
            checked.append(entry)
        elif (
            isinstance(entry, tuple | list)
            and len(entry) == 2
            and all(isinstance(side, str) for side in entry)
        ):
            checked.append((entry[0], entry[1]))
        else:
            raise InputError(
                f"entry {number} is neither a text nor a pair of texts: {str(entry)[:60]!r}; correct it"
            )
    return checked
