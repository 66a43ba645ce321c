"""Texts and class names from the values of a column; what is missing or no class is refused, never spelled out.

Rules:

1. Missing is what the format says: null, NaN, a blank field. The words NaN, None and NA of a text file are texts.
2. A label is one class. Lists belong to multi-label tasks, fractions to regression: both are refused.
3. The same table means the same in every format: 1, 1.0 and "1" are one class where all labels are numbers.
"""

import json
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

from platon_compress.errors import InputError
from platon_compress.tasks.data.rows import Origin

__all__ = ["class_labels", "text_pairs", "texts"]

# Words by which tools write a missing number; beside words they are words (the country NA), beside numbers not.
_NO_NUMBER = frozenset({"nan", "na", "n/a", "<na>", "nat", "null", "none"})


def texts(values: Sequence[Any], origin: Origin, key: str) -> list[str]:
    """The texts of a column. Raises InputError where one is missing, blank or no text."""
    found = _strings(values, origin, key)
    _refuse(found, lambda text: not text.strip(), origin, f"has no text ({key})")
    return found


def text_pairs(
    first: Sequence[Any], second: Sequence[Any], origin: Origin, keys: tuple[str, str]
) -> list[tuple[str, str]]:
    """Pairs of texts; one of the two may be blank, but not missing."""
    columns = [_strings(values, origin, key) for values, key in zip((first, second), keys, strict=True)]
    pairs = list(zip(*columns, strict=True))
    _refuse(pairs, lambda pair: not "".join(pair).strip(), origin, f"has no text ({' and '.join(keys)})")
    return pairs


def class_labels(values: Sequence[Any], origin: Origin, names: Sequence[str] | None = None) -> list[str]:
    """One class name a row; `names` are those of a `ClassLabel` column, which holds their numbers.

    Raises InputError for a label that is missing, a list, a fraction, or no number of `names`.
    """
    values = list(values)  # a column of `datasets` reads its file at every pass
    _refuse(values, _is_missing, origin, "has no label")
    _refuse(values, _is_list, origin, "has a list of labels, but this tool trains one class a row", "")
    if names is not None:
        return [names[number] for number in _numbers_of_classes(values, origin, len(names))]
    _refuse(values, _is_no_class, origin, "has a label that is neither a word nor a number")
    if all(map(_is_number, values)):
        return _whole_numbers(values, origin)
    return [_spelled(value) for value in values]


def _strings(values: Sequence[Any], origin: Origin, key: str) -> list[str]:
    values = list(values)
    _refuse(values, lambda value: value is None or _is_nan(value), origin, f"has no text ({key})")
    _refuse(
        values,
        lambda value: not isinstance(value, str | Real | Decimal),
        origin,
        f"holds no text under {key}",
        "give one string a row",
    )
    return [value if isinstance(value, str) else str(value) for value in values]


def _numbers_of_classes(values: Sequence[Any], origin: Origin, count: int) -> list[int]:
    """-1 marks unlabelled rows, as in the test splits of public benchmarks."""
    _refuse(
        values, lambda value: value == -1, origin, "is not labelled (-1)", "name a labelled split or file"
    )
    _refuse(
        values,
        lambda value: not isinstance(value, int) or not 0 <= value < count,
        origin,
        f"has a label that is none of the {count} class numbers",
        "mend the data",
    )
    return list(values)


def _whole_numbers(values: Sequence[Any], origin: Origin) -> list[str]:
    _refuse(
        values,
        lambda value: isinstance(value, str) and value.strip().lower() in _NO_NUMBER,
        origin,
        "has no label",
    )
    _refuse(
        values,
        lambda value: not float(value).is_integer(),
        origin,
        "has a label with a fraction, but this tool trains classifiers",
        "give class names or class numbers",
    )
    return [_spelled(value.strip() if isinstance(value, str) else value) for value in values]


def _is_number(value: Any) -> bool:
    """Whether a label stands for a number, or for a missing one beside numbers."""
    if not isinstance(value, str):
        return True
    if value.strip().lower() in _NO_NUMBER:
        return True
    try:
        return math.isfinite(float(value)) and "_" not in value
    except ValueError:
        return False


def _spelled(value: Any) -> str:
    """Whole numbers without a point, whatever their type; text as it stands."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        whole, point, rest = value.partition(".")
        return whole if point and rest and not rest.strip("0") and whole.lstrip("+-").isdecimal() else value
    return str(int(value)) if float(value).is_integer() else str(value)


def _is_nan(value: Any) -> bool:
    return isinstance(value, Real | Decimal) and math.isnan(value)


def _is_missing(value: Any) -> bool:
    return value is None or _is_nan(value) or (isinstance(value, str) and not value.strip())


def _is_list(value: Any) -> bool:
    """A list, or one that a text file spells out."""
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        try:
            return isinstance(json.loads(value.replace("'", '"')), list)
        except ValueError:
            return False
    return isinstance(value, list | tuple | dict | set)


def _is_no_class(value: Any) -> bool:
    if isinstance(value, Real | Decimal):
        return not math.isfinite(value)
    return not isinstance(value, str)


def _refuse(
    values: Sequence[Any],
    bad: Callable[[Any], bool],
    origin: Origin,
    what: str,
    cure: str = "remove the row or fill it in",
) -> None:
    """InputError that names the first bad row, its value, and how many there are."""
    wrong = [index for index, value in enumerate(values) if bad(value)]
    if not wrong:
        return
    value = values[wrong[0]]
    shown = "" if value is None or str(value).strip() in ("", "nan") else f": {str(value)[:60]!r}"
    more = f" (and {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
    raise InputError(f"{origin.place(wrong[0])} {what}{shown}{more}; {cure or 'give one class a row'}")
