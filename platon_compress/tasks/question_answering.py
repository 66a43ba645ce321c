"""question-answering: the span of a text that answers a question, as SQuAD 1 and 2 ask for it.

Rules:

1. A context longer than `max_length` is read in windows behind the whole question, which share `stride` tokens. A
   window that does not hold the whole answer has its first token for an answer.
2. The answer is the best span of all windows, as the torch-free runner finds it. Where some questions have no answer
   the first token's score is that of "no answer".
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from platon_compress.errors import InputError
from platon_compress.runtime.answers import Window, best_answer
from platon_compress.scoring import Evaluation, Outputs, Scores
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import QuestionRows
from platon_compress.tasks.examples import Examples, padded, tokenise, window_sizes
from platon_compress.tasks.metrics.answers import answer_scores, trivial_answers
from platon_compress.tasks.task import Task

if TYPE_CHECKING:
    from tokenizers import Encoding
    from torch import Tensor

__all__ = ["QuestionAnswering"]

_CONTEXT = 1  # the second text of the pair
_LONGEST_ANSWER = 30  # tokens, as in the baselines published for SQuAD
_LEAST_AGREEMENT = 0.95  # an answer is one of thousands of spans, of which several may be nearly as good
_USUAL_WINDOW = 384  # tokens, as there
_PARTS = ("start_logits", "end_logits")
_HIDDEN = -1e4  # a score that padding cannot win with, within the range of half precision


class QuestionAnswering(Task):
    """Extractive question answering."""

    name: ClassVar[str] = "question-answering"
    teachable: ClassVar[bool] = True

    def names(self, training: QuestionRows, config: Any) -> list[str]:
        """None: the outputs are a start and an end."""
        del training, config
        return []

    def known_names(self, rows: QuestionRows, checkpoint: Checkpoint) -> list[str]:
        """None, as of a training."""
        del rows, checkpoint
        return []

    def head(self, names: Sequence[str]) -> Mapping[str, Any]:
        """Two scores a token."""
        del names
        return {"num_labels": 2}

    def encode(self, rows: QuestionRows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Windows of each pair, with the tokens (start, end) of the first answer that each holds."""
        del names
        length, stride = window_sizes(self.data, checkpoint, _USUAL_WINDOW)
        _check_questions(rows, checkpoint, length, stride)
        features, encoded = tokenise(
            [rows.questions, rows.contexts],
            checkpoint,
            length,
            rows.origin,
            truncation="only_second",
            stride=stride,
            return_overflowing_tokens=True,
        )
        owners, windows = list(encoded["overflow_to_sample_mapping"]), encoded.encodings
        labels = (
            [_span(window, rows.answers[owner]) for window, owner in zip(windows, owners, strict=True)]
            if len(rows.answers)
            else ()
        )
        return Examples(features, labels, rows, owners, windows)

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded inputs, and the tokens (start, end) int64 [batch, 2] under `labels`."""
        import torch

        batch = padded(items, processor)
        if "labels" in items[0]:
            labels = torch.tensor([item["labels"] for item in items])
            if processor.padding_side == "left":
                lengths = torch.tensor([len(item["input_ids"]) for item in items])
                labels += (batch["input_ids"].shape[1] - lengths)[:, None]
            batch["labels"] = labels
        return batch

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """The mean cross-entropy of start and end."""
        from torch.nn.functional import cross_entropy

        starts, ends = inputs["labels"].unbind(-1)
        first = cross_entropy(outputs.start_logits.float(), starts)
        return (first + cross_entropy(outputs.end_logits.float(), ends)) / 2

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """Of the softened scores over the tokens of each window, starts and ends."""
        from platon_compress.tasks.distillation import answer_loss

        hidden = ~inputs["attention_mask"].bool()
        pairs = [
            (ours[name].masked_fill(hidden, _HIDDEN), theirs[name].masked_fill(hidden, _HIDDEN))
            for name in _PARTS
        ]
        starts, ends = (answer_loss(ours, theirs, temperature) for ours, theirs in pairs)
        return (starts + ends) / 2

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored by the words of the best span against every right answer."""
        rows: QuestionRows = examples.rows
        left = getattr(checkpoint.processor, "padding_side", "right") == "left"
        gold = [[text for text, _ in answers] for answers in rows.answers]
        no_answer = 0.0 if not all(gold) else None

        def answers(outputs: Sequence[Outputs]) -> list[str]:
            windows: list[list[Window]] = [[] for _ in rows.questions]
            for index, logits in enumerate(_starts_and_ends(outputs)):
                length = len(examples.features[index]["input_ids"])
                own = logits[:, -length:] if left else logits[:, :length]
                windows[examples.owners[index]].append((examples.notes[index], own))
            return [
                best_answer(mine, context, no_answer=no_answer, max_answer_tokens=_LONGEST_ANSWER)
                for mine, context in zip(windows, rows.contexts, strict=True)
            ]

        def score(outputs: Sequence[Outputs]) -> Scores:
            return answer_scores(answers(outputs), gold, rows.groups, self.metric)

        return Evaluation(
            batches=self.batches(examples, checkpoint, batch_size),
            score=score,
            trivial=trivial_answers(gold, self.metric),
            examples=len(rows),
            decisions=answers,
            decision="question",
            least_agreement=_LEAST_AGREEMENT,
        )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """A start and an end score for every token."""
        shapes = [tuple(getattr(outputs, name, np.empty(0)).shape) for name in _PARTS]
        if shapes != [tuple(inputs["input_ids"].shape)] * 2:
            raise InputError(
                f"{type(checkpoint.model).__name__} gives starts and ends of the shapes {shapes} for inputs "
                f"{list(inputs['input_ids'].shape)}; give a model with a question-answering head"
            )


def _check_questions(rows: QuestionRows, checkpoint: Checkpoint, length: int, stride: int) -> None:
    """Every question leaves room for more of its context than two windows share."""
    processor: Any = checkpoint.processor
    if processor is None:
        return  # refused by tokenise
    room = length - stride - processor.num_special_tokens_to_add(pair=True)
    for row, ids in enumerate(processor(list(rows.questions), add_special_tokens=False)["input_ids"]):
        if len(ids) >= room:
            raise InputError(
                f"{rows.origin.place(row)}: the question has {len(ids)} tokens, which leaves no room for its context: "
                f"data.max_length is {length}, and windows share {stride}; raise max_length, lower document_stride, or "
                "remove the row"
            )


def _span(window: "Encoding", answers: Sequence[tuple[str, int]]) -> tuple[int, int]:
    """First and last token of the first answer that the window holds, (0, 0) where it holds none."""
    for answer, place in answers:
        text, start = answer.strip(), place + len(answer) - len(answer.lstrip())  # no token holds the blanks
        inside = [
            number
            for number, (sequence, (first, last)) in enumerate(
                zip(window.sequence_ids, window.offsets, strict=True)
            )
            if sequence == _CONTEXT and first < start + len(text) and last > start
        ]
        if (
            inside
            and window.offsets[inside[0]][0] <= start
            and window.offsets[inside[-1]][1] >= start + len(text)
        ):
            return inside[0], inside[-1]
    return 0, 0


def _starts_and_ends(outputs: Sequence[Outputs]) -> Any:
    """[2, tokens] of every window, with its padding."""
    for answers in outputs:
        yield from np.stack([answers[name] for name in _PARTS], axis=1).astype(np.float32)
