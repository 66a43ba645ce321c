"""A model with its processor, and what the tasks of transformers ask of both."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.tasks.sentence_files import SentenceFiles

if TYPE_CHECKING:
    from torch import nn

__all__ = ["TASKS", "Checkpoint", "TaskSpec"]


@dataclass(frozen=True)
class TaskSpec:
    """What a task needs: transformers' auto class, the input's modality, the class suffix of its models."""

    auto_class: str
    modality: str
    suffix: str


TASKS: Mapping[str, TaskSpec] = {
    "text-classification": TaskSpec(
        "AutoModelForSequenceClassification", "text", "ForSequenceClassification"
    ),
    "image-classification": TaskSpec("AutoModelForImageClassification", "image", "ForImageClassification"),
    "token-classification": TaskSpec("AutoModelForTokenClassification", "text", "ForTokenClassification"),
    "question-answering": TaskSpec("AutoModelForQuestionAnswering", "text", "ForQuestionAnswering"),
    "sentence-similarity": TaskSpec("AutoModel", "text", "Model"),
    "text-ranking": TaskSpec("AutoModelForSequenceClassification", "text", "ForSequenceClassification"),
    "fill-mask": TaskSpec("AutoModelForMaskedLM", "text", "ForMaskedLM"),
    "feature-extraction": TaskSpec("AutoModel", "text", "Model"),
    "image-feature-extraction": TaskSpec("AutoModel", "image", "Model"),
}


@dataclass(frozen=True)
class Checkpoint:
    """A model with the processor that belongs to it (`None` where the folder has none).

    `drawn` names the weights of a new head, which the checkpoint did not hold. `sentence` are the files of
    sentence-transformers that go with it, for the tasks that have any.
    """

    model: "nn.Module"
    processor: Any
    task: str
    drawn: tuple[str, ...] = ()
    sentence: SentenceFiles | None = None

    @property
    def modality(self) -> str:
        """`text` or `image`."""
        return TASKS[self.task].modality

    def save(self, folder: Path) -> None:
        """Write Hugging Face layout: config.json, model.safetensors and the processor's files."""
        self.model.save_pretrained(folder)  # type: ignore[operator]
        self.save_companions(folder)

    def save_companions(self, folder: Path) -> None:
        """Write what belongs beside a model of any format: the processor's files, sentence-transformers' files."""
        if self.processor is not None:
            self.processor.save_pretrained(folder)
        if self.sentence is not None:
            self.sentence.save(folder)
