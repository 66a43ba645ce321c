"""Texts, classes, numbers and lists from the values of a column; what is missing or no such thing is refused.

Rules:

1. Missing is what the format says: null, NaN, a blank field. The words NaN, None and NA of a text file are texts.
2. Nothing becomes another kind of label: a class is no list and no fraction, a number no word, a list no single class.
3. The same table means the same in every format: 1, 1.0 and "1" are one class where all labels are numbers, and a list
   in a text file is spelled as JSON or as Python spells it.
"""

import ast
import json
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

from platon_compress.errors import InputError
from platon_compress.tasks.data.rows import Origin

__all__ = [
    "class_labels",
    "grades",
    "lists",
    "multi_hot",
    "multi_labels",
    "number_labels",
    "refuse",
    "text_pairs",
    "texts",
]

# Words by which tools write a missing number; beside words they are words (the country NA), beside numbers not.
_NO_NUMBER = frozenset({"nan", "na", "n/a", "<na>", "nat", "null", "none"})


def texts(values: Sequence[Any], origin: Origin, key: str) -> list[str]:
    """The texts of a column. Raises InputError where one is missing, blank or no text."""
    found = _strings(values, origin, key)
    refuse(found, lambda text: not text.strip(), origin, f"has no text ({key})")
    return found


def text_pairs(
    first: Sequence[Any], second: Sequence[Any], origin: Origin, keys: tuple[str, str]
) -> list[tuple[str, str]]:
    """Pairs of texts; one of the two may be blank, but not missing."""
    columns = [_strings(values, origin, key) for values, key in zip((first, second), keys, strict=True)]
    pairs = list(zip(*columns, strict=True))
    refuse(pairs, lambda pair: not "".join(pair).strip(), origin, f"has no text ({' and '.join(keys)})")
    return pairs


def class_labels(values: Sequence[Any], origin: Origin, names: Sequence[str] | None = None) -> list[str]:
    """One class name a row; `names` are those of a `ClassLabel` column, which holds their numbers.

    Raises InputError for a label that is missing, a list, a fraction, or no number of `names`.
    """
    values = list(values)  # a column of `datasets` reads its file at every pass
    refuse(values, _is_missing, origin, "has no label")
    refuse(
        values,
        _is_list,
        origin,
        "has a list of labels, but one class a row is trained",
        "give one class a row, or set data.problem=multi-label",
    )
    if names is not None:
        return [names[number] for number in _numbers_of_classes(values, origin, len(names))]
    refuse(values, _is_no_class, origin, "has a label that is neither a word nor a number")
    if all(map(_is_number, values)):
        return _whole_numbers(values, origin)
    return [_spelled(value) for value in values]


def number_labels(values: Sequence[Any], origin: Origin) -> list[float]:
    """One finite number a row. Raises InputError for one that is missing, a list, a word, NaN or infinite."""
    values = list(values)
    refuse(values, lambda value: _is_missing(value) or _says_missing(value), origin, "has no label")
    refuse(values, _is_list, origin, "has a list of labels, but needs one number", "give one number a row")
    refuse(values, lambda value: _number(value) is None, origin, "has a label that is no number", "fix it")
    found = [_float(value) for value in values]
    refuse(found, lambda value: not math.isfinite(value), origin, "has a label that is not finite", "fix it")
    return found


def grades(values: Sequence[Any], origin: Origin) -> list[float]:
    """How relevant each row is: 0 and 1, or higher. Raises InputError as `number_labels`, and below 0."""
    found = number_labels(values, origin)
    refuse(
        found, lambda value: value < 0, origin, "has a label below 0", "grade from 0, which is not relevant"
    )
    return found


def lists(values: Sequence[Any], origin: Origin, key: str) -> list[list[Any]]:
    """The lists of a column, also where a text file spells them. Raises InputError for anything else."""
    values = list(values)
    refuse(values, _is_missing, origin, f"has no list ({key})", "write [] for an empty one")
    found = [_as_list(value) for value in values]
    wrong = [value if read is None else None for value, read in zip(values, found, strict=True)]
    refuse(
        wrong,
        lambda value: value is not None,
        origin,
        f"holds no list under {key}",
        'write a list: ["first", "second"]',
    )
    return [read for read in found if read is not None]


def multi_labels(
    values: Sequence[Any], origin: Origin, names: Sequence[str] | None = None
) -> list[tuple[str, ...]]:
    """The class names of every row, any number of them; `names` are those of lists of a `ClassLabel`'s numbers.

    Raises InputError for a row without a list, a class that is missing or no class, and one that is named twice.
    """
    found = lists(values, origin, "label")
    refuse(
        found,
        lambda row: any(_is_missing(item) or _is_list(item) or _is_no_class(item) for item in row),
        origin,
        "has a list with a label that is no class",
        "give lists of class names",
    )
    if names is not None:
        refuse(
            found,
            lambda row: any(not isinstance(item, int) or not 0 <= item < len(names) for item in row),
            origin,
            f"has a label that is none of the {len(names)} class numbers",
            "fix the data",
        )
        spelled = [tuple(names[item] for item in row) for row in found]
    else:
        spelled = [tuple(_spelled(item) for item in row) for row in found]
    refuse(
        spelled,
        lambda row: len(set(row)) < len(row),
        origin,
        "names a class twice",
        "give the classes of the row; for a 0 or 1 per class, one column each (data.label_columns)",
    )
    return spelled


def multi_hot(columns: Mapping[str, Sequence[Any]], origin: Origin) -> list[tuple[str, ...]]:
    """The names of the columns that hold a 1, row by row. Raises InputError for a value that is neither 0 nor 1."""
    marks = {name: [_mark(value) for value in values] for name, values in columns.items()}
    for name, values in columns.items():
        wrong = [(value, mark) for value, mark in zip(values, marks[name], strict=True)]
        refuse(
            [f"{value}" if mark is None else None for value, mark in wrong],
            lambda value: value is not None,
            origin,
            f"has neither 0 nor 1 under {name}",
            "fix it, or take the column out of data.label_columns",
        )
    rows = zip(*marks.values(), strict=True)
    return [tuple(name for name, mark in zip(marks, row, strict=True) if mark) for row in rows]


def _strings(values: Sequence[Any], origin: Origin, key: str) -> list[str]:
    values = list(values)
    refuse(values, lambda value: value is None or _is_nan(value), origin, f"has no text ({key})")
    refuse(
        values,
        lambda value: not isinstance(value, str | Real | Decimal),
        origin,
        f"holds no text under {key}",
        "give one string a row",
    )
    return [value if isinstance(value, str) else str(value) for value in values]


def _numbers_of_classes(values: Sequence[Any], origin: Origin, count: int) -> list[int]:
    """-1 marks unlabelled rows, as in the test splits of public benchmarks."""
    refuse(values, lambda value: value == -1, origin, "is not labelled (-1)", "name a labelled split or file")
    refuse(
        values,
        lambda value: not isinstance(value, int) or not 0 <= value < count,
        origin,
        f"has a label that is none of the {count} class numbers",
        "fix the data",
    )
    return list(values)


def _whole_numbers(values: Sequence[Any], origin: Origin) -> list[str]:
    refuse(
        values,
        _says_missing,
        origin,
        "has no label",
    )
    refuse(
        values,
        lambda value: not _float(value).is_integer(),
        origin,
        "has a label with a fraction, but classes are trained",
        "give class names or class numbers, or set data.problem=regression",
    )
    return [_spelled(value.strip() if isinstance(value, str) else value) for value in values]


def _is_number(value: Any) -> bool:
    """Whether a label stands for a number, or for a missing one beside numbers."""
    if not isinstance(value, str):
        return True
    number = _number(value)
    return _says_missing(value) or (number is not None and math.isfinite(number))


def _spelled(value: Any) -> str:
    """Whole numbers without a point, whatever their type; text as it stands."""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str):
        whole, point, rest = value.partition(".")
        return whole if point and rest and not rest.strip("0") and whole.lstrip("+-").isdecimal() else value
    return str(int(value)) if float(value).is_integer() else str(value)


def _number(value: Any) -> float | None:
    """What a label stands for as a number; None for a word. Python's 1_000 is a word."""
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        return None
    try:
        return None if isinstance(value, str) and "_" in value else _float(value)
    except ValueError:
        return None


def _float(value: Any) -> float:
    """Infinity for whole numbers beyond all floats, as Python reads 1e999."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _mark(value: Any) -> bool | None:
    """What a 0, a 1, or a spelling of them says; None for anything else."""
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    number = float(value) if isinstance(value, bool) else _number(value)
    return bool(number) if number in (0.0, 1.0) else None


def _says_missing(value: Any) -> bool:
    return isinstance(value, str) and value.strip().lower() in _NO_NUMBER


def _as_list(value: Any) -> list[Any] | None:
    if isinstance(value, list | tuple):
        return list(value)
    if not isinstance(value, str) or not (value.strip().startswith("[") and value.strip().endswith("]")):
        return None
    for read in (json.loads, ast.literal_eval):  # as JSON writes it, and as Python's str() does
        try:
            found = read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list) else None
    return None


def _is_nan(value: Any) -> bool:
    return isinstance(value, Real | Decimal) and math.isnan(_float(value))


def _is_missing(value: Any) -> bool:
    return value is None or _is_nan(value) or (isinstance(value, str) and not value.strip())


def _is_list(value: Any) -> bool:
    """A list, or one that a text file spells out."""
    return _as_list(value) is not None or isinstance(value, dict | set)


def _is_no_class(value: Any) -> bool:
    if isinstance(value, Real | Decimal):
        return not math.isfinite(_float(value))
    return not isinstance(value, str)


def refuse(
    values: Sequence[Any],
    bad: Callable[[Any], bool],
    origin: Origin,
    what: str,
    cure: str = "remove the row or fill it in",
) -> None:
    """InputError where a value is `bad`, naming the first such row, its value, and how many there are."""
    wrong = [index for index, value in enumerate(values) if bad(value)]
    if not wrong:
        return
    value = values[wrong[0]]
    shown = "" if value is None or str(value).strip() in ("", "nan") else f": {str(value)[:60]!r}"
    more = f" (and {len(wrong) - 1} more rows)" if len(wrong) > 1 else ""
    raise InputError(f"{origin.place(wrong[0])} {what}{shown}{more}; {cure}")
