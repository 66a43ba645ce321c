"""Token counts of real texts: the length distribution that a deployed model meets. Only counts leave this module."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError

__all__ = ["read_texts", "token_lengths"]

Text = str | tuple[str, str]


def read_texts(path: str | Path, column: str | None = None) -> list[Text]:
    """The texts of a TSV file's `column`, or the (question, context) pairs of a SQuAD v1.1 JSON file.

    Raises InputError for a missing file, another kind of file or an unknown column.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
        return _squad_pairs(json.loads(content)) if path.suffix == ".json" else _column(content, path, column)
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}); give a .tsv or SQuAD .json file"
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no SQuAD v1.1 file ({error!r}); give a .tsv file instead") from error


def token_lengths(
    texts: Sequence[Text], tokenizer: Any, *, examples: int, max_length: int, seed: int = 0
) -> list[int]:
    """Tokens of `examples` texts drawn at random (all when there are fewer), special tokens and truncation included.

    Drawn in random order, so that neighbours are as unlike as requests of different users.
    """
    if examples < 1 or not texts:
        raise InputError(f"lengths need at least 1 text, got {len(texts)} texts and examples={examples}")
    order = np.random.default_rng(seed).permutation(len(texts))[:examples]
    chosen = [texts[i] if isinstance(texts[i], tuple) else (texts[i],) for i in order]
    columns = [list(column) for column in zip(*chosen, strict=True)]
    return [len(ids) for ids in tokenizer(*columns, truncation=True, max_length=max_length)["input_ids"]]


def _column(content: str, path: Path, column: str | None) -> list[Text]:
    rows = csv.DictReader(io.StringIO(content), delimiter="\t", quoting=csv.QUOTE_NONE)
    if column not in (rows.fieldnames or ()):
        raise InputError(
            f"{path} has no column {column!r}; its columns are {', '.join(rows.fieldnames or ())}"
        )
    return [row[column] or "" for row in rows]


def _squad_pairs(content: Any) -> list[Text]:
    return [
        (question["question"], paragraph["context"])
        for article in content["data"]
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    ]
