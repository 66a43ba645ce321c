"""What a task is: how its rows are read, what its model answers, what it learns from, how it is judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar

from platon_compress.errors import InputError
from platon_compress.scoring import Batch, Evaluation
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.tables import read_split
from platon_compress.tasks.examples import Examples, spread
from platon_compress.tasks.metrics import check_metric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from platon_compress.recipe import DataSection
    from platon_compress.tasks.distillation import Teacher

__all__ = ["Task", "check_shape"]


class Task(ABC):
    """One task of a recipe, made of its data section; `metric` is what it is judged by.

    name: as in `model.task`. problem: where a task has several, which one this is. teachable: whether a teacher alone
    can train it, without labels; softened: whether the temperature has a part in that. reference: gives the dense model,
    for metrics that compare with it. A name of the model's outputs is a class; a task without classes has none.
    """

    name: ClassVar[str]
    problem: ClassVar[str | None] = None
    teachable: ClassVar[bool] = False
    softened: ClassVar[bool] = True
    reference: Callable[[], Checkpoint | None] | None = None

    def __init__(self, data: "DataSection", metric: str | None = None) -> None:
        self.data = data
        self.metric = check_metric(self.name, metric, self.problem)

    def read(self, split: str, seed: int, *, labelled: bool = True) -> Any:
        """The raw rows of "train", "validation" or "test". Raises InputError."""
        return read_split(self.data, split, self.name, seed, labelled=labelled)

    @abstractmethod
    def names(self, training: Any, config: Any) -> list[str]:
        """Names of the model's outputs, in their order, from labelled training rows.

        config: of the checkpoint that training starts from, None where it starts from nothing.
        """

    @abstractmethod
    def known_names(self, rows: Any, checkpoint: Checkpoint) -> list[str]:
        """The same of a finished model, in the spelling of `rows`. Raises InputError where the two do not fit."""

    @abstractmethod
    def head(self, names: Sequence[str]) -> Mapping[str, Any] | None:
        """Fields of the config that size and name a new head; None for a model without one."""

    @abstractmethod
    def encode(self, rows: Any, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Rows as features of the model. Raises InputError, naming the row, for what does not fit."""

    @abstractmethod
    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """`examples` as padded batches in order, with how answers to them are scored."""

    @abstractmethod
    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """The loss of the student's outputs against the teacher's, a mean over the batch."""

    @abstractmethod
    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """One padded batch of torch tensors from indexed examples, with or without `labels`."""

    @abstractmethod
    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """The loss of outputs on the labels in `inputs`, a mean over the batch."""

    def forward(self, model: "nn.Module", inputs: "Mapping[str, Tensor]", *, hidden: bool = False) -> Any:
        """The model's outputs for a batch, whose labels it is not shown; with `hidden` its hidden states too."""
        given = {name: value for name, value in inputs.items() if name != "labels"}
        return model(**given, **({"output_hidden_states": True} if hidden else {}))

    def batches(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> list[Batch]:
        """`examples` as the model's inputs, in order, padded, without their targets: numpy arrays [batch, ...]."""
        made: list[Batch] = []
        for start in range(0, len(examples), batch_size):
            items = [examples[i] for i in range(start, min(start + batch_size, len(examples)))]
            batch = self.collate(items, checkpoint.processor)
            made.append({name: tensor.numpy() for name, tensor in batch.items() if name != "labels"})
        return made

    def training(
        self, checkpoint: Checkpoint, examples: Examples, teacher: "Teacher | None"
    ) -> AbstractContextManager[None]:
        """What a training on `examples` runs in, for tasks whose model is another while it trains."""
        del checkpoint, examples, teacher
        return nullcontext()

    def finished(self, checkpoint: Checkpoint) -> AbstractContextManager[None]:
        """Inside of `training`: the model as it is behind it, to save or to judge it; then it is as before, bit by bit."""
        del checkpoint
        return nullcontext()

    def teacher_columns(self, teacher: Checkpoint, names: Sequence[str]) -> tuple[int, ...] | None:
        """Which of the teacher's outputs is each of `names`; None where their order is the task's own.

        Raises InputError for a teacher of other classes.
        """
        del teacher, names
        return None

    def check_teacher(self, teacher: Checkpoint, student: Checkpoint) -> None:
        """Raise InputError for a teacher whose answers cannot be the student's."""
        del teacher, student

    def part(self, examples: Examples, limit: int) -> Examples:
        """The examples of at most `limit` rows from all over."""
        return examples.of_rows(spread(len(examples if examples.rows is None else examples.rows), limit))

    def check_rows(self, rows: Any) -> None:
        """Raise InputError for validation rows on which the metric would say nothing."""
        del rows

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """Raise InputError where the model's outputs for a batch are not those of the task."""
        del outputs, inputs, checkpoint

    def counted(self, rows: Any, names: Sequence[str]) -> dict[str, int]:
        """Rows (or words) of each class, for a person to see that a column is the right one; {} without classes."""
        del rows, names
        return {}


def check_shape(outputs: Any, wanted: tuple[int, ...], checkpoint: Checkpoint, meaning: str) -> None:
    """Raise InputError unless the outputs' `logits` have the shape `wanted`; `meaning` is what that is, in words."""
    shape = tuple(getattr(getattr(outputs, "logits", None), "shape", ()))
    if shape != wanted:
        model = type(checkpoint.model).__name__
        raise InputError(
            f"{model} answers with {list(shape)}, not with {meaning}, {list(wanted)}; give a model whose config.json fits "
            "its head"
        )
