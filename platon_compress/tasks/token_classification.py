"""token-classification: a tag a word, for names of people and places, parts of speech, spans to hide.

Rules:

1. The first piece of a word answers for the word; the other pieces, special tokens and padding have no label (-100) and
   no part in the loss.
2. A text longer than `max_length` is read in windows that share `stride` tokens. A word that several windows hold is
   answered by the one where it stands farthest from an edge.
3. A word of which the tokenizer makes nothing is answered with O, or the first tag where there is no O.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from platon_compress.errors import InputError
from platon_compress.scoring import Evaluation, Outputs
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.classes import in_model_order, names_of_model, teacher_places
from platon_compress.tasks.data.rows import TaggedRows
from platon_compress.tasks.examples import Examples, padded, tokenise, window_sizes
from platon_compress.tasks.metrics.entities import entity_scores
from platon_compress.tasks.models import label_fields
from platon_compress.tasks.task import Task, check_shape

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TokenClassification"]

_OUTSIDE = "O"
_NO_LABEL = -100  # as transformers marks them


class TokenClassification(Task):
    """One tag for each word of a text."""

    name: ClassVar[str] = "token-classification"
    teachable: ClassVar[bool] = True

    def names(self, training: TaggedRows, config: Any) -> list[str]:
        """O first, then the tags of one class side by side; or the order of a finished model of the same tags."""
        found = {tag for tags in training.tags for tag in tags}
        names = sorted(found, key=lambda tag: (tag != _OUTSIDE, tag[2:], tag))
        if len(names) < 2:
            raise InputError(
                f"the training tags hold one tag only ({names[0]!r}); at least two are needed, such as O and B-NAME"
            )
        return in_model_order(names, config)

    def known_names(self, rows: TaggedRows, checkpoint: Checkpoint) -> list[str]:
        """The tags of a finished model. Raises InputError for a tag in `rows` that it does not know."""
        names = names_of_model(checkpoint)
        _check_known(rows, names, "the model's tags")
        return names

    def head(self, names: Sequence[str]) -> Mapping[str, Any]:
        """A score a tag."""
        return label_fields(names)

    def encode(self, rows: TaggedRows, checkpoint: Checkpoint, names: Sequence[str]) -> Examples:
        """Windows of each text, with the number of each word's tag at its first piece."""
        _check_known(rows, names, "the tags of the training data")
        length, stride = window_sizes(self.data, checkpoint)
        features, encoded = tokenise(
            [rows.words],
            checkpoint,
            length,
            rows.origin,
            is_split_into_words=True,
            stride=stride,
            return_overflowing_tokens=True,
        )
        if not encoded.encodings:
            raise InputError(
                "the tokenizer is a slow one, which does not say which piece belongs to which word; save a tokenizer.json"
            )
        owners = list(encoded["overflow_to_sample_mapping"])
        words = [list(_first_pieces(encoding.word_ids)) for encoding in encoded.encodings]
        numbers = {name: number for number, name in enumerate(names)}
        labels = (
            [
                _labels(len(feature["input_ids"]), places, [numbers[tag] for tag in rows.tags[owner]])
                for feature, places, owner in zip(features, words, owners, strict=True)
            ]
            if len(rows.tags)
            else ()
        )
        return Examples(features, labels, rows, owners, words)

    def collate(self, items: Sequence[Mapping[str, Any]], processor: Any) -> "dict[str, Tensor]":
        """Padded inputs, and tag numbers int64 [batch, tokens] under `labels`, -100 where there is none."""
        import torch

        batch = padded(items, processor)
        if "labels" in items[0]:
            labels = torch.full(batch["input_ids"].shape, _NO_LABEL)
            for row, item in enumerate(items):
                mine = torch.tensor(item["labels"])
                where = slice(-len(mine), None) if processor.padding_side == "left" else slice(len(mine))
                labels[row, where] = mine
            batch["labels"] = labels
        return batch

    def evaluation(self, examples: Examples, checkpoint: Checkpoint, batch_size: int) -> Evaluation:
        """Scored by whole entities."""
        names, rows = names_of_model(checkpoint), examples.rows
        left = getattr(checkpoint.processor, "padding_side", "right") == "left"
        usual = names.index(_OUTSIDE) if _OUTSIDE in names else 0

        def predicted(outputs: Sequence[Outputs]) -> list[list[str]]:
            answers = [np.full(len(words), usual) for words in rows.words]
            room = [np.full(len(words), -1) for words in rows.words]
            for index, best in enumerate(_best_tags(outputs)):
                owner, length = examples.owners[index], len(examples.features[index]["input_ids"])
                own = best[-length:] if left else best[:length]
                for word, place in examples.notes[index]:
                    distance = min(place, length - 1 - place)
                    if distance > room[owner][word]:
                        room[owner][word], answers[owner][word] = distance, own[place]
            return [[names[tag] for tag in tags] for tags in answers]

        return Evaluation(
            batches=self.batches(examples, checkpoint, batch_size),
            score=lambda outputs: entity_scores(predicted(outputs), rows.tags, self.metric),
            trivial=0.0,
            examples=len(rows),
            decisions=lambda outputs: [tag for tags in predicted(outputs) for tag in tags],
            decision="word",
        )

    def loss(self, outputs: Any, inputs: "Mapping[str, Tensor]") -> "Tensor":
        """The mean cross-entropy of the words' first pieces."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            outputs.logits.float().flatten(0, 1), inputs["labels"].flatten(), ignore_index=_NO_LABEL
        )

    def taught(self, ours: Any, theirs: Any, inputs: "Mapping[str, Tensor]", temperature: float) -> "Tensor":
        """Of the softened logits of every token that is no padding."""
        from platon_compress.tasks.distillation import answer_loss

        there = inputs["attention_mask"].bool()
        return answer_loss(ours.logits[there], theirs.logits[there], temperature)

    def teacher_columns(self, teacher: Checkpoint, names: Sequence[str]) -> tuple[int, ...]:
        """The teacher's place of each tag."""
        return teacher_places(names_of_model(teacher), names)

    def check_rows(self, rows: TaggedRows) -> None:
        """There is an entity among them."""
        if all(tag == _OUTSIDE for tags in rows.tags for tag in tags):
            raise InputError(
                f"no word of the {rows.origin.name} has a tag other than O, so {self.metric} would say nothing; "
                "give texts with entities"
            )

    def check_answers(self, outputs: Any, inputs: "Mapping[str, Tensor]", checkpoint: Checkpoint) -> None:
        """A score a tag for every token."""
        wanted = (*inputs["input_ids"].shape, len(names_of_model(checkpoint)))
        check_shape(outputs, wanted, checkpoint, "a score for each tag of each token")

    def counted(self, rows: TaggedRows, names: Sequence[str]) -> dict[str, int]:
        """Words of every tag."""
        found = Counter(tag for tags in rows.tags for tag in tags)
        return {name: found[name] for name in names} if len(rows.tags) else {}


def _check_known(rows: TaggedRows, names: Sequence[str], whose: str) -> None:
    known = set(names)
    for row, tags in enumerate(rows.tags):
        for tag in tags:
            if tag not in known:
                raise InputError(
                    f"{rows.origin.place(row)}: tag {tag!r} is not among {whose} ({', '.join(names[:20])}); fix it, or "
                    "add such texts to the training data"
                )


def _first_pieces(word_ids: Sequence[int | None]) -> Iterator[tuple[int, int]]:
    """(word, place) of the first piece of every word in a window; a word that goes on from the window before is cut."""
    before = None
    for place, word in enumerate(word_ids):
        if word is not None and word != before:
            yield word, place
        before = word


def _labels(length: int, words: Sequence[tuple[int, int]], tags: Sequence[int]) -> list[int]:
    labels = [_NO_LABEL] * length
    for word, place in words:
        labels[place] = tags[word]
    return labels


def _best_tags(outputs: Sequence[Outputs]) -> Iterator[np.ndarray]:
    """Numbers of the best tags [tokens] of every window, with its padding."""
    for answers in outputs:
        yield from next(iter(answers.values())).argmax(axis=-1)
