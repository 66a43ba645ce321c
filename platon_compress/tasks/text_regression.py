"""text-classification with `data.problem: regression`: one number a text or pair, such as how alike two sentences are.

Rules:

1. The model's output is on the scale of the data, wherever it is asked: PyTorch, the ONNX file, the runner.
2. While it trains it is not: the head answers with (y - mean) / deviation of the training labels (without labels: of
   the teacher's answers), so that prices in thousands learn as well as grades from 0 to 5, at the same learning rate.
   The two numbers are folded into the output layer's weight and bias when the training ends.
3. The loss is the mean squared error of those standardised numbers, on labels and against a teacher alike.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Evaluation, Outputs, Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.examples import Examples, padded
from platon_compress.tasks.metrics.regression import regression_scores
from platon_compress.tasks.models import label_fields
from platon_compress.tasks.task import Task, check_shape
from platon_compress.tasks.text_classification import text_features

if TYPE_CHECKING:
    from torch import Tensor, nn

    from platon_compress.tasks.distillation import Teacher

__all__ = ["TextRegression"]

_NAME = "LABEL_0"  # what transformers calls the output of a model with one
_TAUGHT_EXAMPLES = 256  # enough to know the mean and the deviation of a teacher's answers
_BATCH = 32
_OFFSET_COSTS = 1e-3  # float32 has seven digits, and an offset far beyond the deviation takes some of them


class TextRegression(Task):
    """A number for each text or pair."""

    name: ClassVar[str] = "text-classification"
    problem: ClassVar[str | None] = "regression"
    teachable: ClassVar[bool] = True

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._mean, self._deviation = 0.0, 1.0

    def names(self, training: Rows, config: Any) -> list[str]:
        """None: the output is a number."""
        del config
        if len(set(training.labels)) < 2:
            raise InputError(
                f"all {len(training)} training rows have the label {training.labels[0]:g}, so there is nothing to learn; "
                "give rows with different numbers"
            )
        return []

    def known_names(self, rows: Rows, checkpoint: Checkpoint) -> list[str]:
        """None, as of a training. Raises InputError for a model of more than one output."""
        del rows
        config: Any = checkpoint.model.config
        if config.num_labels != 1:
            raise InputError(
                f"the model has {config.num_labels} outputs, and data.problem regression needs one; give a model that "
                "was trained on numbers"
            )
        return []

    def head(self, names: Sequence[str]) -> Mapping[str, Any]:
        """One output."""
        del names
        return {"problem_type": "regression", **label_fields([_NAME])}

    def encode(self, rows: Rows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Tokens of each text or pair, and its number."""
        del names
        features = text_features(rows, checkpoint, self.data)
        return Examples(features, np.asarray(rows.labels, dtype=np.float64))

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded inputs, and numbers float32 [batch] on the scale of the data under `labels`."""
        import torch

        batch = padded(items, processor)
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([float(item["labels"]) for item in items])
        return batch

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """The mean squared error of the standardised labels."""
        return self._error(outputs.logits.squeeze(-1), inputs["labels"])

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """The mean squared error of the teacher's answers, standardised; a number has no temperature."""
        del inputs, temperature
        return self._error(ours.logits, theirs.logits)

    @contextlib.contextmanager
    def training(
        self, checkpoint: Checkpoint, examples: Examples, teacher: "Teacher | None"
    ) -> Iterator[None]:
        """The model answers with standardised numbers inside, and on the scale of the data again behind."""
        name, layer = _output_layer(checkpoint)
        numbers = examples.labels
        if teacher is not None and not len(numbers):
            numbers = self._answers(examples, teacher, checkpoint)
        self._mean = 0.0 if layer.bias is None else float(np.mean(numbers))
        self._deviation = float(np.sqrt(np.mean((np.asarray(numbers) - self._mean) ** 2))) or 1.0
        if f"{name}.weight" not in checkpoint.drawn:  # a finished head answers on the scale of the data
            _rescale(layer, 1 / self._deviation, -self._mean / self._deviation)
        try:
            yield
        finally:
            _rescale(layer, self._deviation, self._mean)
            self._mean, self._deviation = 0.0, 1.0

    @contextlib.contextmanager
    def finished(self, checkpoint: Checkpoint) -> Iterator[None]:
        """On the scale of the data."""
        _, layer = _output_layer(checkpoint)
        before = {name: value.detach().clone() for name, value in layer.state_dict().items()}
        _rescale(layer, self._deviation, self._mean)
        try:
            yield
        finally:
            layer.load_state_dict(before)

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored by correlation, which no scale changes."""
        targets = np.asarray(examples.labels)

        def score(outputs: Sequence[Outputs]) -> Scores:
            answers = np.concatenate([next(iter(answers.values())) for answers in outputs])
            return regression_scores(answers.reshape(-1), targets, self.metric)

        return Evaluation(
            batches=self.batches(examples, checkpoint, batch_size),
            score=score,
            trivial=0.0,
            scale=max(float(targets.std()), abs(float(targets.mean())) * _OFFSET_COSTS),
        )

    def teacher_columns(self, teacher: Checkpoint, names: Sequence[str]) -> None:
        """None, for a teacher with one output."""
        self.known_names(Rows(names), teacher)

    def check_rows(self, rows: Rows) -> None:
        """There are different numbers among them."""
        if len(set(rows.labels)) < 2:
            raise InputError(
                f"all {len(rows)} validation rows have the label {rows.labels[0]:g}, so {self.metric} would say nothing; "
                "give rows with different numbers"
            )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """One number a row."""
        check_shape(outputs, (len(inputs["input_ids"]), 1), checkpoint, "one number for each row")

    def _error(self, ours: "Tensor", numbers: "Tensor") -> "Tensor":
        return (ours.float() - (numbers.float() - self._mean) / self._deviation).square().mean()

    def _answers(self, examples: Examples, teacher: "Teacher", student: Checkpoint) -> np.ndarray:
        """The teacher's, to some of the examples."""
        import torch

        device = next(teacher.model.parameters()).device
        some = self.part(examples, _TAUGHT_EXAMPLES)
        found = []
        for batch in self.batches(some, student, _BATCH):
            answer = teacher.answer(
                {name: torch.from_numpy(array).to(device) for name, array in batch.items()}
            )
            found.append(answer.logits.double().cpu().numpy().reshape(-1))
        return np.concatenate(found)


def _output_layer(checkpoint: Checkpoint) -> "tuple[str, nn.Linear]":
    """Name and module of the linear layer that the output comes from: the last with one output."""
    from torch import nn

    modules = checkpoint.model.named_modules()
    layers = [(name, m) for name, m in modules if isinstance(m, nn.Linear) and m.out_features == 1]
    if not layers:
        raise InputError(
            f"{type(checkpoint.model).__name__} has no linear layer with one output, which a regression ends with; take a "
            "BERT-like encoder"
        )
    return layers[-1]


def _rescale(layer: "nn.Linear", factor: float, offset: float) -> None:
    """The layer's output times `factor` plus `offset`."""
    import torch

    with torch.no_grad():
        layer.weight.mul_(factor)
        if layer.bias is not None:
            layer.bias.mul_(factor).add_(offset)
