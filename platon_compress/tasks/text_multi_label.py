"""text-classification with `data.problem: multi-label`: any number of classes for a text or pair, such as topics.

Rules:

1. Every class is a question of its own: the loss is the binary cross-entropy of its output, the mean over classes.
2. A class counts as answered from a probability of 0.5 on; average precision needs no such threshold.
3. From a teacher the probabilities are learnt, softened by the temperature T:
   T^2 * BCE(sigmoid(student / T), sigmoid(teacher / T)).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Evaluation, Outputs, Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.classes import (
    in_model_order,
    in_order,
    model_spelling,
    names_of_model,
    teacher_places,
)
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import Examples, padded
from platon_compress.tasks.metrics.multilabel import multilabel_scores, trivial_multilabel
from platon_compress.tasks.models import label_fields
from platon_compress.tasks.task import Task, check_shape
from platon_compress.tasks.text_classification import text_features

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TextMultiLabel"]

_PROBLEM = "multi_label_classification"


class TextMultiLabel(Task):
    """Any number of classes for each text or pair."""

    name: ClassVar[str] = "text-classification"
    problem: ClassVar[str | None] = "multi-label"
    teachable: ClassVar[bool] = True

    def names(self, training: Rows, config: Any) -> list[str]:
        """`data.label_columns` as they stand, else the training labels; or the order of a finished model of the same.

        Raises InputError for fewer than two classes, and for as many as rows.
        """
        found = Counter(label for labels in training.labels for label in labels)
        names = list(self.data.label_columns) or sorted(found, key=in_order)
        if len(names) < 2:
            raise InputError(
                f"the training labels hold {'no class' if not names else f'one class only ({names[0]!r})'}; multi-label "
                "needs two, or set data.problem=single-label with a class for the rows without"
            )
        if len(names) > max(20, len(training)):
            raise InputError(
                f"the label column holds {len(names)} classes in {len(training)} rows; name the column of the classes "
                "with data.label"
            )
        return in_model_order(names, config)

    def known_names(self, rows: Rows, checkpoint: Checkpoint) -> list[str]:
        """The classes of a finished model, in the spelling of `rows`."""
        config: Any = checkpoint.model.config
        if config.problem_type != _PROBLEM:
            raise InputError(
                f"the model is no multi-label classifier (its config.json has problem_type {config.problem_type}), and "
                f"data.problem is multi-label; give one with {_PROBLEM}"
            )
        return model_spelling(_one_by_one(rows), checkpoint)

    def head(self, names: Sequence[str]) -> Mapping[str, Any]:
        """A score a class."""
        return {"problem_type": _PROBLEM, **label_fields(names)}

    def encode(self, rows: Rows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Tokens of each text or pair, and 0 or 1 for every class, float32 [rows, classes]."""
        numbers = {name: number for number, name in enumerate(names)}
        marks = np.zeros((len(rows.labels), len(names)), dtype=np.float32)
        for row, labels in enumerate(rows.labels):
            for label in labels:
                if label not in numbers:
                    raise InputError(
                        f"{rows.origin.place(row)}: label {label!r} is not among the classes {', '.join(names[:20])}; "
                        "fix it, or add such rows to the training data"
                    )
                marks[row, numbers[label]] = 1
        return Examples(text_features(rows, checkpoint, self.data), marks)

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded inputs, and 0 or 1 float32 [batch, classes] under `labels`."""
        import torch

        batch = padded(items, processor)
        if "labels" in items[0]:
            batch["labels"] = torch.from_numpy(np.stack([item["labels"] for item in items]))
        return batch

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """The mean binary cross-entropy of all classes."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(outputs.logits.float(), inputs["labels"].float())

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """The same against the teacher's probabilities, both softened."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        del inputs
        wanted = (theirs.logits.float() / temperature).sigmoid()
        return binary_cross_entropy_with_logits(ours.logits.float() / temperature, wanted) * temperature**2

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored by the probability of each class."""
        labels = np.asarray(examples.labels)

        def logits(outputs: Sequence[Outputs]) -> np.ndarray:
            return np.concatenate([next(iter(answers.values())) for answers in outputs])

        def score(outputs: Sequence[Outputs]) -> Scores:
            return multilabel_scores(_sigmoid(logits(outputs)), labels, self.metric)

        return Evaluation(
            batches=self.batches(examples, checkpoint, batch_size),
            score=score,
            trivial=trivial_multilabel(labels, self.metric),
            decisions=lambda outputs: [tuple(row) for row in logits(outputs) >= 0],
        )

    def teacher_columns(self, teacher: Checkpoint, names: Sequence[str]) -> tuple[int, ...]:
        """The teacher's place of each class. Raises InputError where it knows others."""
        return teacher_places(self.known_names(Rows(names, [(name,) for name in names]), teacher), names)

    def check_rows(self, rows: Rows) -> None:
        """Not all have the same classes."""
        if len({frozenset(labels) for labels in rows.labels}) < 2:
            classes = ", ".join(rows.labels[0]) or "none"
            raise InputError(
                f"all {len(rows)} validation rows have the same classes ({classes}), so {self.metric} would say nothing; "
                "give rows with different ones"
            )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """A score a class."""
        classes = len(names_of_model(checkpoint))
        check_shape(outputs, (len(inputs["input_ids"]), classes), checkpoint, "a score for each class")

    def counted(self, rows: Rows, names: Sequence[str]) -> dict[str, int]:
        """Rows of every class; one of several classes counts for each."""
        found = Counter(label for labels in rows.labels for label in labels)
        return {name: found[name] for name in names} if len(rows.labels) else {}


def _one_by_one(rows: Rows) -> Rows:
    """A row for each label of each row, so that a message can still name the place."""
    pairs = [(row, label) for row, labels in enumerate(rows.labels) for label in labels]
    labels = [label for _, label in pairs]
    return Rows(labels, labels, rows.origin.chosen([row for row, _ in pairs]))


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    """Of NaN it is NaN, which the metric refuses; large numbers do not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64)))
