"""Raw rows as model inputs: tokens or pixels, and padded batches of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from platon_compress.errors import InputError, first_line
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.pictures import with_channels
from platon_compress.tasks.data.rows import Origin
from platon_compress.tasks.dimensions import (
    DEFAULT_TOKENS,
    picture_channels,
    positions,
    taken_inputs,
    vocabulary,
)

if TYPE_CHECKING:
    from platon_compress.recipe import DataSection

__all__ = ["Examples", "padded", "pixels", "spread", "text_length", "tokenise", "window_sizes"]


@dataclass(frozen=True)
class Examples:
    """Encoded examples; indexing gives the features of one with its target under `labels`.

    Examples of unlabelled rows have empty `labels`, and their features come alone. rows: the raw rows, for tasks that
    judge by more of them than the labels; example i was made of row `owners[i]`, of row i where there are no owners
    (a long text makes several examples). notes: what a task wants to know of each example beside its features.
    """

    features: Sequence[Mapping[str, Any]]
    labels: Sequence[Any] | np.ndarray
    rows: Any = None
    owners: Sequence[int] = ()
    notes: Sequence[Any] = ()

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.features[index], **({"labels": self.labels[index]} if len(self.labels) else {})}

    @property
    def lengths(self) -> list[int] | None:
        """Tokens of each example, of several texts those of the longest; None for pictures."""
        if any("pixel_values" in features for features in self.features[:1]):
            return None
        texts = (features.get("texts", (features,)) for features in self.features)
        return [max(len(text["input_ids"]) for text in each) for each in texts]

    def of_rows(self, chosen: Sequence[int]) -> "Examples":
        """The examples of some rows, whose numbers rise."""
        if not self.owners:
            places, owners = list(chosen), []
        else:
            number = {row: place for place, row in enumerate(chosen)}
            places = [i for i, owner in enumerate(self.owners) if owner in number]
            owners = [number[self.owners[i]] for i in places]
        return Examples(
            [self.features[i] for i in places],
            [self.labels[i] for i in places] if len(self.labels) else (),
            None if self.rows is None else self.rows.chosen(chosen),
            owners,
            [self.notes[i] for i in places] if self.notes else (),
        )


def spread(count: int, limit: int) -> list[int]:
    """At most `limit` of `count` numbers, evenly from all over: data may be sorted by class or by length."""
    return [place * count // limit for place in range(limit)] if limit < count else list(range(count))


def padded(items: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, Any]:
    """The features of `items` as one batch of torch tensors, texts padded to the longest; `labels` are left out."""
    import torch

    features = [{k: v for k, v in e.items() if k != "labels"} for e in items]
    if "pixel_values" in features[0]:
        return {"pixel_values": torch.from_numpy(np.stack([e["pixel_values"] for e in features]))}
    return dict(processor.pad(features, padding=True, return_tensors="pt"))


def text_length(data: "DataSection", checkpoint: Checkpoint, usual: int = DEFAULT_TOKENS) -> int:
    """Tokens that a text, pair or window is cut to: the recipe's, else `usual`, but no more than the model has positions."""
    return data.max_length or min(usual, positions(checkpoint.model) or usual)


def window_sizes(data: "DataSection", checkpoint: Checkpoint, usual: int = DEFAULT_TOKENS) -> tuple[int, int]:
    """Tokens of a window, and how many of them two windows share: where the recipe says nothing 128, at most a third.

    Raises InputError for windows that would not move on.
    """
    length = text_length(data, checkpoint, usual)
    stride = min(128, length // 3) if data.document_stride is None else data.document_stride
    if stride >= length:
        raise InputError(
            f"data.document_stride is {stride}, but a window of this model has {length} tokens and would not move on; "
            "lower it"
        )
    return length, stride


def tokenise(
    columns: Sequence[Sequence[Any]], checkpoint: Checkpoint, max_length: int, origin: Origin, **options: Any
) -> tuple[list[dict[str, Any]], Any]:
    """One feature mapping a text (or pair: two columns), cut to `max_length` tokens; and all the tokenizer said.

    options: further keywords of the tokenizer, such as a stride: then there may be more features than texts.
    Raises InputError without a tokenizer, or where it does not fit the model.
    """
    _require_processor(checkpoint)
    limit = positions(checkpoint.model)
    if limit is not None and max_length > limit:
        raise InputError(f"data.max_length is {max_length}, but the model has {limit} positions; lower it")
    encoded = checkpoint.processor(
        *map(list, columns), **{"truncation": True, "max_length": max_length, **options}
    )
    taken = taken_inputs(checkpoint.model)
    names = [name for name in encoded if name in taken]
    features = [{name: encoded[name][i] for name in names} for i in range(len(encoded["input_ids"]))]
    owners = encoded.get("overflow_to_sample_mapping", range(len(features)))
    _check_words(features, owners, origin, checkpoint)
    return features, encoded


def _require_processor(checkpoint: Checkpoint) -> None:
    if checkpoint.processor is None:
        kind = "tokenizer" if checkpoint.modality == "text" else "image processor"
        raise InputError(
            f"the model folder has no {kind} to prepare the data with; add its files to the folder"
        )


def _check_words(
    features: Sequence[Mapping[str, Any]], owners: Sequence[int], origin: Origin, checkpoint: Checkpoint
) -> None:
    words = vocabulary(checkpoint.model)
    for index, feature in enumerate(features):
        largest = max(feature["input_ids"], default=0)
        if largest >= words:
            raise InputError(
                f"{origin.place(owners[index])}: the tokenizer gives token {largest}, but the model's table has {words} "
                "words; save the tokenizer that belongs to the model, or model.resize_token_embeddings(len(tokenizer))"
            )


def pixels(
    pictures: Sequence[np.ndarray], checkpoint: Checkpoint, origin: Origin, chunk: int = 256
) -> list[dict[str, np.ndarray]]:
    """`pixel_values` [channels, height, width] of every picture, as the model's image processor makes them.

    Raises InputError without a processor, or for pictures that it does not take.
    """
    _require_processor(checkpoint)
    features: list[dict[str, np.ndarray]] = []
    channels = picture_channels(checkpoint.model.config)
    for start in range(0, len(pictures), chunk):
        images = [with_channels(image, channels) for image in pictures[start : start + chunk]]
        try:
            batch = checkpoint.processor(images, return_tensors="np", input_data_format="channels_last")
        except (ValueError, TypeError, OSError) as error:  # sizes that differ, channels that do not fit
            place = origin.place(start)
            raise InputError(
                f"the image processor does not take the pictures from {place} on: {first_line(error)}; "
                "scale them to one size, or fix preprocessor_config.json"
            ) from error
        features += [{"pixel_values": values.astype(np.float32)} for values in batch["pixel_values"]]
    _check_one_size(features, origin)
    return features


def _check_one_size(features: Sequence[Mapping[str, np.ndarray]], origin: Origin) -> None:
    shapes = [example["pixel_values"].shape for example in features]
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise InputError(
            f"{origin.place(odd)} has shape {list(shapes[odd])} after the image processor, the first picture "
            f"{list(shapes[0])}; scale all to one size, or let the processor do it (do_resize)"
        )
