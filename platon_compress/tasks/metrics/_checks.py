"""What every metric refuses: nothing, lengths that differ, numbers that are none."""

from collections.abc import Sequence, Sized
from typing import Any

import numpy as np

from platon_compress.errors import InputError, shown

__all__ = ["check_choice", "class_numbers", "numbers", "same_length", "truths"]


def check_choice(metric: str, choices: Sequence[str]) -> str:
    """`metric`, if it is one of `choices`."""
    if metric not in choices:
        raise InputError(f"metric {shown(metric)} is unknown here; take one of {', '.join(choices)}")
    return metric


def same_length(first: Sized, first_name: str, second: Sized, second_name: str) -> None:
    """Refuses lists of different lengths, and empty ones."""
    if len(first) != len(second):
        raise InputError(
            f"{len(first)} {first_name} and {len(second)} {second_name}; give one for each example, in the same order"
        )
    if not len(first):
        raise InputError(f"there are no {first_name} to judge; give at least one example")


def numbers(values: Any, what: str, dimensions: int = 1) -> np.ndarray:
    """`values` as float64 with that many dimensions. Raises InputError for NaN and infinite ones."""
    array = _array(values, what, dimensions).astype(np.float64)
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        raise InputError(
            f"{len(wrong)} of the {array.size} {what} are NaN or infinite, the first at {wrong[0].tolist()}; "
            "look for NaN in the model's weights and in its training loss"
        )
    return array


def class_numbers(values: Any, what: str, classes: int) -> np.ndarray:
    """`values` as int64 [n], each a number of one of `classes` classes."""
    array = numbers(values, what)
    wrong = np.flatnonzero((array != np.floor(array)) | (array < 0) | (array >= classes))
    if len(wrong):
        raise InputError(
            f"{what}[{wrong[0]}] is {array[wrong[0]]:g}; give numbers of classes, 0 to {classes - 1}"
        )
    return array.astype(np.int64)


def truths(values: Any, what: str) -> np.ndarray:
    """`values` as bool [n, classes]; 0 and 1 will do."""
    array = numbers(values, what, dimensions=2)
    if not np.isin(array, (0, 1)).all():
        raise InputError(f"{what} hold other numbers than 0 and 1; give one 0 or 1 for each class")
    return array.astype(bool)


def _array(values: Any, what: str, dimensions: int) -> np.ndarray:
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{what} are rows of different lengths; give each the same") from error
    if array.dtype.kind not in "biuf" and array.size:
        raise InputError(f"{what} are no numbers but {array.dtype}; give numbers")
    if array.ndim != dimensions:
        raise InputError(f"{what} have the shape {list(array.shape)}; give {dimensions} dimension(s)")
    return array
