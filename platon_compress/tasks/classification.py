"""One class a row: what texts and pictures have in common."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Evaluation, Outputs, Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.classes import (
    class_names,
    in_model_order,
    known_class_names,
    names_of_model,
    teacher_places,
)
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import Examples, padded
from platon_compress.tasks.metrics.classification import classification_scores, trivial_classification
from platon_compress.tasks.models import classifier_head
from platon_compress.tasks.task import Task, check_shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SingleLabel"]


class SingleLabel(Task):
    """A classifier of one class a row."""

    def names(self, training: Rows, config: Any) -> list[str]:
        """The training labels, in the order of a finished classifier of the same classes."""
        return in_model_order(class_names(training), config)

    def known_names(self, rows: Rows, checkpoint: Checkpoint) -> list[str]:
        """The classes of a finished classifier in the spelling of `rows`."""
        return known_class_names(rows, checkpoint)

    def head(self, names: Sequence[str]) -> Mapping[str, Any]:
        """A score a class."""
        return classifier_head(names)

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded inputs, and class numbers int64 [batch] under `labels`."""
        import torch

        batch = padded(items, processor)
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([int(item["labels"]) for item in items])
        return batch

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored by the largest logit."""
        labels = np.asarray(examples.labels)
        names = names_of_model(checkpoint)

        def classes(outputs: Sequence[Outputs]) -> np.ndarray:
            return np.concatenate([next(iter(answers.values())) for answers in outputs]).argmax(-1)

        def score(outputs: Sequence[Outputs]) -> Scores:
            return classification_scores(classes(outputs), labels, names, self.metric)

        return Evaluation(
            batches=self.batches(examples, checkpoint, batch_size),
            score=score,
            trivial=trivial_classification(labels, names, self.metric),
            decisions=classes,
        )

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """The cross-entropy of the logits [batch, classes]."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.logits.float(), inputs["labels"])

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """Of the softened logits [batch, classes]."""
        from platon_compress.tasks.distillation import answer_loss

        del inputs
        return answer_loss(ours.logits, theirs.logits, temperature)

    def teacher_columns(self, teacher: Checkpoint, names: Sequence[str]) -> tuple[int, ...]:
        """The teacher's place of each class. Raises InputError where it knows others."""
        return teacher_places(known_class_names(Rows(names, names), teacher), names)

    def check_rows(self, rows: Rows) -> None:
        """More than one class is among them."""
        if len(set(rows.labels)) < 2:
            raise InputError(
                f"all {len(rows)} validation rows have the label {rows.labels[0]!r}, so {self.metric} would say "
                "nothing; give rows of all classes"
            )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """A score a class."""
        classes = len(names_of_model(checkpoint))
        check_shape(
            outputs, (len(next(iter(inputs.values()))), classes), checkpoint, "a score for each class"
        )

    def counted(self, rows: Rows, names: Sequence[str]) -> dict[str, int]:
        """Rows of every class."""
        found = Counter(rows.labels)
        return {name: found[name] for name in names} if rows.labels else {}
