"""The classes of a task with one class a row: their names, their order, their numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from platon_compress.errors import InputError
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.data.rows import Rows

__all__ = [
    "class_names",
    "class_numbers",
    "in_model_order",
    "in_order",
    "known_class_names",
    "model_spelling",
    "names_of_model",
    "teacher_places",
]


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
    return sorted(names, key=in_order)


def in_order(name: str) -> tuple[int, int, str]:
    """A sorting key: whole numbers by their value, in front of words."""
    try:
        return (0, int(name), name)
    except ValueError:
        return (1, 0, name)


def in_model_order(names: Sequence[str], config: Any) -> list[str]:
    """`names` in the order in which a finished classifier with the same classes gives them, else as they are.

    Its head is trained on: with another order every score would begin under a wrong name. config: None where training
    starts from nothing.
    """
    known = getattr(config, "id2label", None)
    theirs = [str(known[i]) for i in sorted(known)] if isinstance(known, dict) else []
    return theirs if sorted(theirs) == sorted(names) else list(names)


def teacher_places(theirs: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    """The place of each of `names` among a teacher's outputs. Raises InputError where the two are not the same."""
    if sorted(theirs) != sorted(names):
        raise InputError(
            f"it knows {len(theirs)} classes ({', '.join(theirs[:20])}), the data has {len(names)} "
            f"({', '.join(names[:20])}); give a teacher fine-tuned for this task"
        )
    return tuple(theirs.index(name) for name in names)


def names_of_model(checkpoint: Checkpoint) -> list[str]:
    """The names of a model's outputs, in their order."""
    known: Any = checkpoint.model.config.id2label  # type: ignore[union-attr]
    return [str(known[number]) for number in sorted(known)]


def known_class_names(rows: Rows, checkpoint: Checkpoint) -> list[str]:
    """The classes of a finished classifier of one class a row, in the spelling of `rows`: see `model_spelling`.

    Raises InputError when the rows' labels are none of them, or the model is no such classifier.
    """
    config: Any = checkpoint.model.config
    if config.problem_type not in (None, "single_label_classification") or config.num_labels < 2:
        kind = config.problem_type or "one output"
        raise InputError(
            f"the model is no classifier of one class a row ({kind}), so its answers cannot be compared with "
            "labels; leave the data away"
        )
    return model_spelling(rows, checkpoint)


def model_spelling(rows: Rows, checkpoint: Checkpoint) -> list[str]:
    """The classes of a model in the spelling of the labels of `rows`: its label names, or class numbers from 0.

    Numbers count as class numbers only where a 0 is among them: 1 to 5 on a model with five names could be
    shifted by one. Raises InputError when the rows' labels are neither.
    """
    names = names_of_model(checkpoint)
    numbers = [str(i) for i in range(len(names))]
    found = set(rows.labels)
    if found <= set(names):
        return names
    if found <= set(numbers) and "0" in found:
        return numbers
    strange = next(i for i, label in enumerate(rows.labels) if label not in names)
    known = f"{', '.join(names[:20])}{', ...' if len(names) > 20 else ''}"
    raise InputError(
        f"{rows.origin.place(strange)}: label {rows.labels[strange]!r} of the data is none of the model's: {known}; "
        f"write these, or the numbers 0 to {len(names) - 1} in their order"
    )


def class_numbers(rows: Rows, names: Sequence[str]) -> np.ndarray:
    """The number of every row's class in `names`, int64 [rows]. Raises InputError for a label that is none of them."""
    numbers = {name: i for i, name in enumerate(names)}
    for index, label in enumerate(rows.labels):
        if label not in numbers:
            raise InputError(
                f"{rows.origin.place(index)}: label {label!r} is not among the classes {', '.join(names)}; "
                "fix it, or add such rows to the training data"
            )
    return np.array([numbers[label] for label in rows.labels], dtype=np.int64)
