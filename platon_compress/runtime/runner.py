"""One object per exported folder, with a method for every task."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError
from platon_compress.export.session import open_session
from platon_compress.limits import LIMITS
from platon_compress.runtime.answers import Answer, answer
from platon_compress.runtime.batches import Engine
from platon_compress.runtime.embed import Embedder, open_embedder
from platon_compress.runtime.entities import Entity, entities
from platon_compress.runtime.folder import TASKS, ModelFolder, open_folder, task_of
from platon_compress.runtime.numbers import Floats
from platon_compress.runtime.pictures import classify, open_processor
from platon_compress.runtime.predict import Predictions, predict
from platon_compress.runtime.texts import TextEngine
from platon_compress.runtime.tokens import Text, open_tokenizer

__all__ = ["Runner", "load"]


def load(
    folder: str | Path,
    *,
    file: str | None = None,
    task: str | None = None,
    pooling: str | None = None,
    threads: int | None = None,
    workers: int = 1,
    pin_threads: bool = False,
) -> "Runner":
    """Open an exported folder: ONNX file, config.json, and tokenizer.json or preprocessor_config.json beside it.

    file: which .onnx file (None: compressed.onnx, model.onnx, or the only one). task: one of TASKS, where config.json
    does not tell. pooling: for embeddings of a folder without modules.json. threads: of one run (None: ONNX Runtime's
    choice, the physical cores; with several workers 1). workers: batches computed at a time, each by a thread of its
    own; the weights are in memory once. Many short texts: threads=1, workers=cores. pin_threads: as in
    :func:`platon_compress.export.session_options`; a service that waits between its texts answers sooner.

    Raises InputError in one line when something is missing or not supported.
    """
    LIMITS["plan.threads"].check("workers", workers)
    if task is not None and task not in TASKS:
        raise InputError(f"no task {task!r}; choose from {', '.join(TASKS)}")
    opened = open_folder(folder, file)
    chosen = task or task_of(opened)
    threads = 1 if threads is None and workers > 1 else threads
    session = open_session(opened.model_file, threads=threads, pin_threads=pin_threads)
    return Runner(opened, chosen, Engine(session, workers), pooling)


class Runner:
    """What :func:`load` opened. `task` says which of the methods is its own; the others refuse.

    All methods take `batch_size` and `progress`, which is called with (done, total) after each batch. Texts are sorted
    by length into batches; results come in the order of what was given.
    """

    def __init__(self, folder: ModelFolder, task: str, engine: Engine, pooling: str | None) -> None:
        self.folder, self.task, self.engine = folder, task, engine
        if task == "image-classification":
            self._processor = open_processor(folder)
        else:
            self._texts = TextEngine(engine, open_tokenizer(folder))
            engine.text_inputs()
        self._embedder: Embedder | None = None
        if task == "sentence-similarity":
            self._embedder = open_embedder(folder, self._texts, pooling)

    def encode(self, texts: Sequence[str], **settings: Any) -> Floats:
        """Embeddings float32 [texts, size]; settings as in :meth:`Embedder.encode`."""
        if self._embedder is None:
            raise self._refusal("encode")
        return self._embedder.encode(texts, **settings)

    def predict(self, inputs: Sequence[Text], **settings: Any) -> Predictions:
        """Labels, probabilities or scores of texts or pairs of texts."""
        self._require("predict", "text-classification", "text-ranking")
        return predict(self.folder, self._texts, inputs, **settings)

    def entities(self, texts: Sequence[str], **settings: Any) -> list[list[Entity]]:
        """Named entities with their characters; settings as in :func:`platon_compress.runtime.entities.entities`."""
        self._require("entities", "token-classification")
        return entities(self.folder, self._texts, texts, **settings)

    def answer(
        self, questions: Sequence[str], contexts: Sequence[str], **settings: Any
    ) -> list[list[Answer]]:
        """Answers to questions; settings as in :func:`platon_compress.runtime.answers.answer`."""
        self._require("answer", "question-answering")
        return answer(self._texts, questions, contexts, **settings)

    def classify(self, images: Sequence[Any], **settings: Any) -> Predictions:
        """Labels and probabilities of images: paths, Pillow images or uint8 [height, width, 3]."""
        self._require("classify", "image-classification")
        return classify(self.folder, self.engine, self._processor, images, **settings)

    def _require(self, method: str, *tasks: str) -> None:
        if self.task not in tasks:
            raise self._refusal(method)

    def _refusal(self, method: str) -> InputError:
        return InputError(
            f"{self.folder.path} is made for {self.task}, not for {method}(); call {TASKS[self.task]}"
        )
