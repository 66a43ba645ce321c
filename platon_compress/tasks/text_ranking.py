"""text-ranking: cross-encoders, which give one score to a query with a passage.

Rules:

1. The labels say whether a passage answers its query, or how well: grades are divided by the largest one. The loss is
   the cross-entropy of that and the sigmoid of the score, as in Nogueira and Cho (2019), Passage Re-ranking with BERT.
2. A teacher is learnt from by the squared difference of the two scores, before any sigmoid.
3. Whatever is left out, a query keeps all its passages: half a list has another rank.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Evaluation, Outputs, Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import RankingRows
from platon_compress.tasks.examples import Examples, padded, spread, text_length, tokenise
from platon_compress.tasks.metrics.ranking import ranking_scores, trivial_ranking
from platon_compress.tasks.task import Task, check_shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TextRanking"]

_LEAST_QUERIES = 2


class TextRanking(Task):
    """Passages in order for a query."""

    name: ClassVar[str] = "text-ranking"
    teachable: ClassVar[bool] = True
    softened: ClassVar[bool] = False

    def names(self, training: RankingRows, config: Any) -> list[str]:
        """None: one score has no name."""
        del training, config
        return []

    def known_names(self, rows: RankingRows, checkpoint: Checkpoint) -> list[str]:
        """None. Raises InputError for a model with other than one output."""
        del rows
        _check_one_output(checkpoint)
        return []

    def head(self, names: Sequence[str]) -> Mapping[str, Any]:
        """One score."""
        del names
        return {"num_labels": 1}

    def encode(self, rows: RankingRows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Tokens of each query with its passage, and the label as a share of the largest one."""
        del names
        limit = text_length(self.data, checkpoint)
        if checkpoint.sentence is not None:
            limit = checkpoint.sentence.cut(limit)
        features, _ = tokenise([rows.queries, rows.passages], checkpoint, limit, rows.origin)
        labels = np.asarray(rows.labels, dtype=np.float64)
        return Examples(features, labels / labels.max() if len(labels) else (), rows)

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded inputs, and labels from 0 to 1, float32 [batch]."""
        import torch

        batch = padded(items, processor)
        if "labels" in items[0]:
            batch["labels"] = torch.tensor([item["labels"] for item in items], dtype=torch.float32)
        return batch

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """Binary cross-entropy of the scores' sigmoid."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(outputs.logits[:, 0].float(), inputs["labels"])

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """Mean squared difference of the scores; nothing is softened."""
        from torch.nn.functional import mse_loss

        del inputs, temperature
        return mse_loss(ours.logits.float(), theirs.logits.float())

    def check_teacher(self, teacher: Checkpoint, student: Checkpoint) -> None:
        """It gives one score too."""
        del student
        _check_one_output(teacher)

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored query by query."""
        rows: RankingRows = examples.rows

        def scored(outputs: Sequence[Outputs]) -> np.ndarray:
            return np.concatenate([next(iter(answers.values())) for answers in outputs])[:, 0]

        def score(outputs: Sequence[Outputs]) -> Scores:
            return ranking_scores(scored(outputs), rows.labels, rows.groups, self.metric)

        return Evaluation(
            batches=self.batches(examples, checkpoint, batch_size),
            score=score,
            trivial=trivial_ranking(rows.labels, rows.groups, self.metric),
            decisions=lambda outputs: _first_passages(scored(outputs), rows.groups),
            decision="query",
        )

    def part(self, examples: Examples, limit: int) -> Examples:
        """Whole queries from all over, and at least one."""
        rows: RankingRows = examples.rows
        if limit >= len(rows):
            return examples
        members: dict[str, list[int]] = {}
        for row, group in enumerate(rows.groups):
            members.setdefault(group, []).append(row)
        lists = [own for own in members.values() if any(rows.labels[row] > 0 for row in own)]
        chosen = [lists[place] for place in spread(len(lists), max(1, limit * len(lists) // len(rows)))]
        return examples.of_rows(sorted(row for own in chosen for row in own))

    def check_rows(self, rows: RankingRows) -> None:
        """Two queries have passages of both kinds."""
        passages = Counter(rows.groups)
        relevant = Counter(group for group, label in zip(rows.groups, rows.labels, strict=True) if label > 0)
        told = sum(0 < relevant[group] < count for group, count in passages.items())
        if told < _LEAST_QUERIES:
            raise InputError(
                f"{told} of the {len(passages)} queries of the {rows.origin.name} have both a relevant passage and another, "
                f"so {self.metric} would say nothing; give at least {_LEAST_QUERIES}, with all their passages "
                "(data.group names the query's column)"
            )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """One score a row."""
        check_shape(outputs, (len(inputs["input_ids"]), 1), checkpoint, "one score for each row")


def _check_one_output(checkpoint: Checkpoint) -> None:
    outputs = checkpoint.model.config.num_labels  # type: ignore[union-attr]
    if outputs != 1:
        raise InputError(f"the model has {outputs} outputs; give a cross-encoder with one")


def _first_passages(scores: np.ndarray, groups: Sequence[str]) -> list[int]:
    """The row of each query's best passage, in the order of the queries' first rows."""
    best: dict[str, int] = {}
    for row, group in enumerate(groups):
        if group not in best or scores[row] > scores[best[group]]:
            best[group] = row
    return list(best.values())
