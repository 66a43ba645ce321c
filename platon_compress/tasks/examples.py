"""Turns raw rows into model inputs: tokens or pixels, class numbers, padded batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from platon_compress.errors import InputError, first_line
from platon_compress.tasks.data.pictures import with_channels
from platon_compress.tasks.data.rows import Rows
from platon_compress.tasks.dimensions import picture_channels, positions, taken_inputs, vocabulary
from platon_compress.tasks.models import Checkpoint

__all__ = [
    "Examples",
    "class_names",
    "collate",
    "encode",
    "in_model_order",
    "known_class_names",
    "numpy_batches",
]


@dataclass(frozen=True)
class Examples:
    """Encoded examples; indexing gives the features of one with its class number under `labels`.

    Examples of unlabelled rows have an empty `labels`, and their features come alone.
    """

    features: Sequence[Mapping[str, Any]]
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.features)

    def __getitem__(self, index: int) -> dict[str, Any]:
        label = {"labels": int(self.labels[index])} if len(self.labels) else {}
        return {**self.features[index], **label}


def class_names(rows: Rows) -> list[str]:
    """The distinct labels, in numeric order where all are whole numbers, else in alphabetic order.

    Raises InputError when there is only one class, or so many that the column cannot be a class.
    """
    names = set(rows.labels)
    if len(names) < 2:
        raise InputError(
            f"the training labels hold one class only ({next(iter(names))!r}); at least two are needed"
        )
    if len(names) > max(20, len(rows) // 2):
        raise InputError(
            f"the label column holds {len(names)} values in {len(rows)} rows; name the class column with data.label"
        )
    return sorted(names, key=_in_order)


def _in_order(name: str) -> tuple[int, int, str]:
    try:
        return (0, int(name), name)
    except ValueError:
        return (1, 0, name)


def in_model_order(names: Sequence[str], config: Any) -> list[str]:
    """`names` in the order in which a finished classifier with the same classes gives them, else as they are.

    Its head is trained on: with another order every score would begin under a wrong name.
    """
    known = getattr(config, "id2label", None)
    theirs = [str(known[i]) for i in sorted(known)] if isinstance(known, dict) else []
    return theirs if sorted(theirs) == sorted(names) else list(names)


def known_class_names(rows: Rows, checkpoint: Checkpoint) -> list[str]:
    """The classes of a finished classifier, in the spelling of `rows`: its label names, or class numbers from 0.

    Numbers count as class numbers only where a 0 is among them: 1 to 5 on a model with five names could be
    shifted by one. Raises InputError when the rows' labels are neither, or the model is no classifier.
    """
    config: Any = checkpoint.model.config
    if config.problem_type not in (None, "single_label_classification") or config.num_labels < 2:
        kind = config.problem_type or "one output"
        raise InputError(
            f"the model is no classifier of one class a row ({kind}), so its answers cannot be compared with "
            "labels; leave the data away"
        )
    names = [str(config.id2label[i]) for i in range(config.num_labels)]
    numbers = [str(i) for i in range(config.num_labels)]
    found = set(rows.labels)
    if found <= set(names):
        return names
    if found <= set(numbers) and "0" in found:
        return numbers
    strange = next(i for i, label in enumerate(rows.labels) if label not in names)
    known = f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
    raise InputError(
        f"{rows.origin.place(strange)}: label {rows.labels[strange]!r} of the data is none of the model's: {known}; "
        f"write these, or the numbers 0 to {config.num_labels - 1} in their order"
    )


def encode(rows: Rows, checkpoint: Checkpoint, names: Sequence[str], max_length: int) -> Examples:
    """Tokenise texts (truncated to `max_length`) or process images, and number the labels.

    Raises InputError for a label that the training data does not have, or a missing tokenizer.
    """
    numbers = {name: i for i, name in enumerate(names)}
    for index, label in enumerate(rows.labels):
        if label not in numbers:
            raise InputError(
                f"{rows.origin.place(index)}: label {label!r} is not among the classes {', '.join(names)}; "
                "mend it, or add such rows to the training data"
            )
    labels = np.array([numbers[label] for label in rows.labels], dtype=np.int64)
    if checkpoint.processor is None:
        kind = "tokenizer" if checkpoint.modality == "text" else "image processor"
        raise InputError(
            f"the model folder has no {kind} to prepare the data with; add its files to the folder"
        )
    if checkpoint.modality == "text":
        return Examples(_tokenise(rows, checkpoint, max_length), labels)
    return Examples(_pixels(rows, checkpoint), labels)


def collate(examples: Sequence[Mapping[str, Any]], processor: Any) -> dict[str, Any]:
    """One padded batch of torch tensors from indexed examples (with or without `labels`)."""
    import torch

    if "pixel_values" in examples[0]:
        batch = {"pixel_values": torch.from_numpy(np.stack([e["pixel_values"] for e in examples]))}
    else:
        features = [{k: v for k, v in e.items() if k != "labels"} for e in examples]
        batch = dict(processor.pad(features, padding=True, return_tensors="pt"))
    if "labels" in examples[0]:
        batch["labels"] = torch.tensor([e["labels"] for e in examples])
    return batch


def numpy_batches(
    examples: Examples, processor: Any, batch_size: int
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Batches of input arrays with their labels, in order, texts padded to the longest of each batch."""
    for start in range(0, len(examples), batch_size):
        items = [examples[i] for i in range(start, min(start + batch_size, len(examples)))]
        batch = collate(items, processor)
        labels = batch.pop("labels").numpy()
        yield {name: tensor.numpy() for name, tensor in batch.items()}, labels


def _tokenise(rows: Rows, checkpoint: Checkpoint, max_length: int) -> list[dict[str, Any]]:
    limit = positions(checkpoint.model)
    if limit is not None and max_length > limit:
        raise InputError(f"data.max_length is {max_length}, but the model has {limit} positions; lower it")
    texts = rows.inputs
    pairs = bool(texts) and isinstance(texts[0], tuple)
    columns = zip(*texts, strict=True) if pairs else [texts]
    encoded = checkpoint.processor(*map(list, columns), truncation=True, max_length=max_length)
    names = [name for name in encoded if name in taken_inputs(checkpoint.model)]
    examples = [{name: encoded[name][i] for name in names} for i in range(len(texts))]
    _check_words(examples, rows, checkpoint)
    return examples


def _check_words(examples: Sequence[Mapping[str, Any]], rows: Rows, checkpoint: Checkpoint) -> None:
    words = vocabulary(checkpoint.model)
    for index, example in enumerate(examples):
        largest = max(example["input_ids"], default=0)
        if largest >= words:
            raise InputError(
                f"{rows.origin.place(index)}: the tokenizer gives token {largest}, but the model's table has {words} "
                "words; save the tokenizer that belongs to the model, or model.resize_token_embeddings(len(tokenizer))"
            )


def _pixels(rows: Rows, checkpoint: Checkpoint, chunk: int = 256) -> list[dict[str, np.ndarray]]:
    features: list[dict[str, np.ndarray]] = []
    channels = picture_channels(checkpoint.model.config)
    for start in range(0, len(rows), chunk):
        images = [with_channels(image, channels) for image in rows.inputs[start : start + chunk]]
        try:
            batch = checkpoint.processor(images, return_tensors="np", input_data_format="channels_last")
        except (ValueError, TypeError, OSError) as error:  # sizes that differ, channels that do not fit
            place = rows.origin.place(start)
            raise InputError(
                f"the image processor does not take the pictures from {place} on: {first_line(error)}; "
                "scale them to one size, or mend preprocessor_config.json"
            ) from error
        features += [{"pixel_values": pixels.astype(np.float32)} for pixels in batch["pixel_values"]]
    _check_one_size(features, rows)
    return features


def _check_one_size(features: Sequence[Mapping[str, np.ndarray]], rows: Rows) -> None:
    shapes = [example["pixel_values"].shape for example in features]
    odd = next((i for i, shape in enumerate(shapes) if shape != shapes[0]), None)
    if odd is not None:
        raise InputError(
            f"{rows.origin.place(odd)} has shape {list(shapes[odd])} after the image processor, the first picture "
            f"{list(shapes[0])}; scale all to one size, or let the processor do it (do_resize)"
        )
