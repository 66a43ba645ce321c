"""Splits phrases so that no phrase of one part holds, or is held by, a phrase of another.

SST-2's training rows are sentences and the phrases in them. Drawn by row, a test would be full of phrases whose sentences
were trained on; drawn by sentence, with every phrase in it, it is not. A phrase of sentences on two sides goes to none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from platon_compress.errors import InputError

__all__ = ["carve", "holders"]


def holders(phrases: Sequence[str]) -> list[frozenset[int]]:
    """Of each, the places of the longest phrases that hold its words in a row; itself where no other does.

    `phrases` are distinct by their words.
    """
    words = [tuple(phrase.split()) for phrase in phrases]
    place = {text: i for i, text in enumerate(words)}
    held_by: list[set[int]] = [set() for _ in words]
    for i, text in enumerate(words):
        for inner in _inner_phrases(text):
            if inner in place:
                held_by[place[inner]].add(i)
    longest = {i for i, others in enumerate(held_by) if not others}
    return [frozenset(others & longest or {i}) for i, others in enumerate(held_by)]


def _inner_phrases(words: tuple[str, ...]) -> set[tuple[str, ...]]:
    count = len(words)
    spans = ((first, last) for first in range(count) for last in range(first + 1, count + 1))
    return {words[first:last] for first, last in spans if last - first < count}


def carve(
    rows: Sequence[Mapping[str, Any]], text: str, least: Mapping[str, int], rest: str, *, seed: int
) -> dict[str, list[Mapping[str, Any]]]:
    """The parts that `least` names, of at least so many rows each, and `rest` of what is left; order is kept.

    Whole sentences are drawn at random until a part has its rows; see the module for what is left out.
    Raises InputError where nothing is left for `rest`.
    """
    by_words: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        by_words.setdefault(" ".join(row[text].split()), []).append(i)
    by_words.pop("", None)
    found = holders(list(by_words))
    side = _sides(found, [len(places) for places in by_words.values()], least, rest, seed)
    parts: dict[str, list[int]] = {name: [] for name in (*least, rest)}
    for places, sentences in zip(by_words.values(), found, strict=True):
        sides = {side[sentence] for sentence in sentences}
        if len(sides) == 1:
            parts[sides.pop()] += places
    if not parts[rest]:
        wanted = ", ".join(f"{count} for {name}" for name, count in least.items())
        raise InputError(f"{len(rows)} rows with {wanted} leave none for {rest}; ask for fewer")
    return {name: [rows[i] for i in sorted(places)] for name, places in parts.items()}


def _sides(
    found: Sequence[frozenset[int]], counts: Sequence[int], least: Mapping[str, int], rest: str, seed: int
) -> dict[int, str]:
    """The part of each sentence. A phrase counts for a part with the last of its sentences drawn for it."""
    sentences = sorted(frozenset().union(*found))
    side = dict.fromkeys(sentences, rest)
    phrases: dict[int, list[int]] = {sentence: [] for sentence in sentences}
    for i, of in enumerate(found):
        for sentence in of:
            phrases[sentence].append(i)
    drawn = iter(np.random.default_rng(seed).permutation(sentences).tolist())
    for name, wanted in least.items():
        rows = 0
        for sentence in drawn:
            side[sentence] = name
            rows += sum(
                counts[i] for i in phrases[sentence] if all(side[other] == name for other in found[i])
            )
            if rows >= wanted:
                break
    return side
