"""sentence-similarity: bi-encoders, whose embeddings of two texts are near where the texts mean the same.

Rules:

1. The model gives a vector a token; what makes one of a text of them is the folder's (`sentence_files`), in training, in
   every metric and wherever the exported folder is opened.
2. Rows without labels train each distinct text towards the teacher's embedding of it. Scored pairs train the order of
   their cosines; (anchor, positive[, negative]) train the anchor to be nearest to its positive among all texts of a
   batch. A batch holds the first texts of all rows, then the second ones, then the third ones.
3. Scored rows are judged by the cosines of their pairs, rows without scores by the cosine to the embeddings of the dense
   model (fidelity), which is told beside the other too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import numpy as np

from platon_compress.errors import InputError
from platon_compress.runtime.embed import pooled
from platon_compress.scoring import Batch, Evaluation, Outputs, Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import SimilarityRows
from platon_compress.tasks.examples import Examples, padded, text_length, tokenise
from platon_compress.tasks.metrics.embeddings import cosines, fidelity, trivial_fidelity
from platon_compress.tasks.metrics.regression import regression_scores
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from platon_compress.recipe import DataSection

__all__ = ["SentenceSimilarity"]

_VECTORS = ("last_hidden_state", "token_embeddings")
_DENSE_BATCH = 32
_OF_TEXTS = ("fidelity", "similarity_spearman")  # metrics that need no scores


class SentenceSimilarity(Task):
    """Embeddings of texts."""

    name: ClassVar[str] = "sentence-similarity"
    teachable: ClassVar[bool] = True
    softened: ClassVar[bool] = False

    def __init__(self, data: "DataSection", metric: str | None = None) -> None:
        super().__init__(data, metric)
        self._chosen = metric is not None
        # By dense model and texts: an evaluation of the same rows compares with the same vectors.
        self._kept: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], np.ndarray]] = WeakKeyDictionary()

    def read(self, split: str, seed: int, *, labelled: bool = True) -> SimilarityRows:
        """Rows to train on without labels are single texts; rows without scores change the metric to fidelity."""
        rows: SimilarityRows = super().read(split, seed, labelled=labelled)
        if split == "train":
            return rows if labelled else _single(rows)
        if len(rows.scores) or self.metric in _OF_TEXTS:
            return rows
        if self._chosen:
            raise InputError(
                f"metric is {self.metric}, but the {rows.origin.name} holds no scores; name their column with data.label, "
                "or leave metric out"
            )
        self.metric = "fidelity"
        return rows

    def names(self, training: SimilarityRows, config: Any) -> list[str]:
        """None. Raises InputError for training rows that say nothing without a teacher."""
        del config
        if len(training.texts[0]) == 1:
            raise InputError(
                f"the {training.origin.name} holds single texts, which only a teacher can train; set distill.labels=false, "
                "or name the second text with data.text_pair"
            )
        return []

    def known_names(self, rows: SimilarityRows, checkpoint: Checkpoint) -> list[str]:
        """None."""
        del rows, checkpoint
        return []

    def head(self, names: Sequence[str]) -> None:
        """There is none."""
        del names

    def encode(self, rows: SimilarityRows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """The features of each row's texts, under `texts`; labels: its score, or 0, the number of its positive."""
        del names
        sentence = checkpoint.sentence
        assert sentence is not None  # noqa: S101 - load_checkpoint reads it for this task
        limit = sentence.cut(text_length(self.data, checkpoint))
        columns = [
            tokenise([[sentence.spelled(text) for text in texts]], checkpoint, limit, rows.origin)[0]
            for texts in zip(*rows.texts, strict=True)
        ]
        features = [{"texts": parts} for parts in zip(*columns, strict=True)]
        unscored = () if len(columns) == 1 else [0] * len(features)
        return Examples(features, rows.scores if len(rows.scores) else unscored, rows)

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded texts [columns * rows, tokens]; `labels` [rows]: float32 scores, or int64 numbers of the positives."""
        import torch

        parts = zip(*(item["texts"] for item in items), strict=True)
        batch = padded([feature for column in parts for feature in column], processor)
        if "labels" in items[0]:
            scored = isinstance(items[0]["labels"], float)
            labels = [item["labels"] for item in items]
            batch["labels"] = torch.tensor(labels) if scored else torch.arange(len(items))
        return batch

    def forward(self, model: Any, inputs: "Mapping[str, Tensor]", *, hidden: bool = False) -> Any:
        """The model's outputs with `sentence_embedding` [texts, width]."""
        from platon_compress.tasks.pooling import sentence_vectors

        outputs = super().forward(model, inputs, hidden=hidden)
        modules = getattr(model, "module", model).sentence_modules
        outputs["sentence_embedding"] = sentence_vectors(
            outputs.last_hidden_state, inputs["attention_mask"], modules
        )
        return outputs

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """Of scored pairs, or of anchors with their positives."""
        from platon_compress.tasks.embedding_losses import pair_loss, positive_loss

        labels, vectors = inputs["labels"], outputs["sentence_embedding"]
        rows = len(labels)
        if labels.is_floating_point():
            return pair_loss(vectors[:rows], vectors[rows:], labels)
        return positive_loss(vectors[:rows], vectors[rows:], _says_the_same(inputs["input_ids"], rows))

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """Of the embeddings of every text; nothing is softened."""
        from platon_compress.tasks.embedding_losses import imitation_loss

        del inputs, temperature
        return imitation_loss(ours["sentence_embedding"], theirs["sentence_embedding"])

    def check_teacher(self, teacher: Checkpoint, student: Checkpoint) -> None:
        """Both give embeddings of one width."""
        theirs, ours = (_width(checkpoint) for checkpoint in (teacher, student))
        if theirs != ours:
            raise InputError(
                f"its embeddings have {theirs} numbers, the student's {ours}; give one of that width"
            )

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored by the embeddings of every distinct text, in the order of their first rows."""
        rows: SimilarityRows = examples.rows
        places = {text: place for place, text in enumerate(rows.distinct())}
        features = {
            text: feature
            for texts, example in zip(rows.texts, examples.features, strict=True)
            for text, feature in zip(texts, example["texts"], strict=True)
        }
        single = Examples([{"texts": (features[text],)} for text in places], ())
        batches = self.batches(single, checkpoint, batch_size)
        dense = self._dense_embeddings(single)
        if self.metric in _OF_TEXTS and dense is None:
            raise InputError(
                f"{self.metric} compares with the dense model, which is not given; give it with --dense, or a file with "
                "scores"
            )

        def score(outputs: Sequence[Outputs]) -> Scores:
            ours = _embeddings(outputs, batches, checkpoint)
            near = None if dense is None else fidelity(ours, dense, self._text_metric)
            if self.metric in _OF_TEXTS:
                assert near is not None  # noqa: S101 - refused above
                return near
            first, second = (ours[[places[texts[i]] for texts in rows.texts]] for i in (0, 1))
            scores = regression_scores(cosines(first, second), rows.scores, self.metric)
            return scores if near is None else replace(scores, values={**scores.values, **near.values})

        trivial = trivial_fidelity(dense) if self.metric == "fidelity" and dense is not None else 0.0
        return Evaluation(batches=batches, score=score, trivial=trivial, examples=len(rows))

    @property
    def _text_metric(self) -> str:
        return self.metric if self.metric in _OF_TEXTS else "fidelity"

    def _dense_embeddings(self, single: Examples) -> np.ndarray | None:
        """Of the dense model for every text, [texts, width]; None where there is none. Texts that come again are kept."""
        reference = None if self.reference is None else self.reference()
        if reference is None:
            return None
        kept = self._kept.setdefault(reference.model, {})
        ids = tuple(tuple(feature["texts"][0]["input_ids"]) for feature in single.features)
        if ids not in kept:
            kept[ids] = self._embedded(single, reference)
        return kept[ids]

    def _embedded(self, single: Examples, reference: Checkpoint) -> np.ndarray:
        """[texts, width]: batches of texts of like lengths, whose outputs are not kept."""
        from platon_compress.export.parity import torch_outputs

        order = np.argsort(
            [len(feature["texts"][0]["input_ids"]) for feature in single.features], kind="stable"
        )
        batches = self.batches(Examples([single.features[i] for i in order], ()), reference, _DENSE_BATCH)
        parts = [
            _embeddings(torch_outputs(reference.model, [batch]), [batch], reference) for batch in batches
        ]
        return np.concatenate(parts)[np.argsort(order)]

    def check_rows(self, rows: SimilarityRows) -> None:
        """They can be judged: by their scores, or against a dense model."""
        if not len(rows.scores) and self.reference is None:
            raise InputError(
                f"the {rows.origin.name} holds no scores, and without --dense there is no model to compare with; give one "
                "of the two, or leave the data away"
            )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """A finite vector a text."""
        vectors = outputs["sentence_embedding"]
        if vectors.ndim != 2 or not bool(vectors.isfinite().all()):
            raise InputError(
                f"{type(checkpoint.model).__name__} gives embeddings that are NaN or infinite; look for NaN in its weights"
            )


def _single(rows: SimilarityRows) -> SimilarityRows:
    """Every distinct text as a row of its own, at the place where it stands first."""
    first: dict[str, int] = {}
    for index, texts in enumerate(rows.texts):
        for text in texts:
            first.setdefault(text, index)
    return SimilarityRows([(text,) for text in first], (), rows.origin.chosen(list(first.values())))


def _says_the_same(input_ids: "Tensor", rows: int) -> "Tensor":
    """bool [rows, candidates]: a text as the row's own anchor or positive, or the positive of an equal anchor."""
    import torch

    anchors, candidates = input_ids[:rows], input_ids[rows:]
    same_anchor = (anchors[:, None] == anchors).all(-1)
    same = (candidates[:rows, None] == candidates).all(-1) | (anchors[:, None] == candidates).all(-1)
    same[:, :rows] |= same_anchor
    own = torch.arange(rows)
    same[own, own] = False
    return same


def _width(checkpoint: Checkpoint) -> int:
    assert checkpoint.sentence is not None and checkpoint.sentence.modules is not None  # noqa: PT018, S101
    return int(checkpoint.model.config.hidden_size) * len(checkpoint.sentence.modules.pooling)  # type: ignore[union-attr, arg-type]


def _embeddings(outputs: Sequence[Outputs], batches: Sequence[Batch], checkpoint: Checkpoint) -> np.ndarray:
    """[texts, width] of a model's answers to the batches."""
    assert checkpoint.sentence is not None and checkpoint.sentence.modules is not None  # noqa: PT018, S101
    modules = checkpoint.sentence.modules
    parts = []
    for answers, batch in zip(outputs, batches, strict=True):
        name = next((name for name in _VECTORS if name in answers), next(iter(answers)))
        parts.append(pooled(answers[name].astype(np.float32), batch["attention_mask"].astype(bool), modules))
    return np.concatenate(parts)
