"""Answers to questions: spans of a context of any length, several of them, or none."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from platon_compress.errors import InputError
from platon_compress.limits import LIMITS
from platon_compress.progress import Progress
from platon_compress.runtime.batches import Batch
from platon_compress.runtime.numbers import Floats, softmax
from platon_compress.runtime.texts import TextEngine
from platon_compress.runtime.tokens import check_texts

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["Answer", "Window", "answer", "best_answer"]

Window: TypeAlias = "tuple[Encoding, Floats]"
"""One reading of a question with a part of its context: its tokens, and their start and end scores [2, tokens]."""

_COUNT = LIMITS["plan.tokens"]
_CONTEXT = 1  # the second text of the pair
_USUAL_WINDOW, _USUAL_STRIDE = 384, 128
_SPARE = 10  # candidates beyond twice the wanted number: some fall together on whole words
_HIDDEN = -10000.0


@dataclass(frozen=True)
class Answer:
    """`text` is `context[start:end]`, empty for "no answer". score: probability within its window, equal texts added."""

    text: str
    score: float
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class _Settings:
    top_k: int
    stride: int
    max_tokens: int
    max_answer_tokens: int
    no_answer: float | None
    whole_words: bool


def answer(
    texts: TextEngine,
    questions: Sequence[str],
    contexts: Sequence[str],
    *,
    top_k: int = 1,
    no_answer: float | None = None,
    max_answer_tokens: int = 15,
    max_tokens: int | None = None,
    stride: int | None = None,
    whole_words: bool = True,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> list[list[Answer]]:
    """The `top_k` best answers to every question, best first; fewer where the context has no more.

    no_answer: None never says "no answer"; a number does where its score exceeds the best answer's by more than that
    (0.0 for models trained on SQuAD v2; negative: says so sooner). max_tokens: window over question and context (None:
    384, or what the model has); stride: tokens that two windows of a context share (None: 128, or half a window).
    whole_words: answers begin and end with words. Raises InputError for settings that do not fit and texts in disorder.
    """
    pairs = _pairs(questions, contexts)
    limit = (
        min(_USUAL_WINDOW, texts.tokenizer.max_tokens or _USUAL_WINDOW) if max_tokens is None else max_tokens
    )
    settings = _Settings(
        top_k=_COUNT.check("top_k", top_k),
        stride=min(limit // 2, _USUAL_STRIDE) if stride is None else stride,
        max_tokens=_COUNT.check("max_tokens", limit),
        max_answer_tokens=_COUNT.check("max_answer_tokens", max_answer_tokens),
        no_answer=no_answer,
        whole_words=whole_words,
    )
    return texts.run(
        pairs,
        lambda part: _windows(texts, part, settings),
        _starts_and_ends,
        lambda pair, windows: _best(windows, pair[1], settings),
        batch_size=batch_size,
        progress=progress,
    )


def best_answer(
    windows: "Sequence[Window]", context: str, *, no_answer: float | None = None, max_answer_tokens: int = 15
) -> str:
    """The text of the best answer, "" where there is none; `windows` are those of one question, see :func:`answer`."""
    settings = _Settings(
        top_k=1,
        stride=0,
        max_tokens=0,
        max_answer_tokens=max_answer_tokens,
        no_answer=no_answer,
        whole_words=True,
    )
    found = _best(windows, context, settings)
    return found[0].text if found else ""


def _pairs(questions: Sequence[str], contexts: Sequence[str]) -> list[tuple[str, str]]:
    asked, read = check_texts(questions, "questions"), check_texts(contexts, "contexts")
    if len(asked) != len(read):
        raise InputError(
            f"{len(asked)} questions and {len(read)} contexts; give one context for each question"
        )
    for number, pair in enumerate(zip(asked, read, strict=True)):
        for text, what in zip(pair, ("question", "context"), strict=True):
            if not text.strip():
                raise InputError(f"{what} {number} is empty; leave the pair out")
    return list(zip(asked, read, strict=True))


def _windows(
    texts: TextEngine, pairs: Sequence[tuple[str, str]], settings: _Settings
) -> "list[list[Encoding]]":
    """Each pair's windows over the context, every one behind the whole question."""
    limit, special = settings.max_tokens, texts.tokenizer.special_count(pair=True)
    longest = max(
        (len(e.ids) for e in texts.tokenizer.encode([q for q, _ in pairs], max_tokens=10**6)), default=0
    )
    room = limit - special - longest + texts.tokenizer.special_count()
    if settings.stride < 0 or room <= settings.stride:
        raise InputError(
            f"a question of {longest} tokens leaves {max(0, room)} of {limit} to the context, the stride is "
            f"{settings.stride}; shorten the question or the stride"
        )
    encodings = texts.tokenizer.encode(
        pairs, max_tokens=limit, strategy="only_second", stride=settings.stride
    )
    return [[encoding, *encoding.overflowing] for encoding in encodings]


def _starts_and_ends(batch: Batch) -> Floats:
    """[batch, 2, tokens]: logits of starts and ends, each row's own tokens first."""
    both = [batch.outputs.get(name) for name in ("start_logits", "end_logits")]
    if any(values is None for values in both):
        raise InputError(
            f"the model file gives {', '.join(batch.outputs)}, answers need start_logits and end_logits; "
            "export it with its head"
        )
    order = np.argsort(~batch.mask, axis=1, kind="stable")  # padding on the left goes to the right
    stacked = np.stack(
        [np.take_along_axis(values, order, axis=1) for values in both if values is not None], axis=1
    )
    return stacked.astype(np.float32)


def _best(windows: "Sequence[Window]", context: str, settings: _Settings) -> list[Answer]:
    """Candidates of all windows; those of equal text count as one."""
    found: dict[str, Answer] = {}
    nothing = 1.0
    for window, logits in windows:
        starts, ends = _probabilities(window, logits[:, : len(window.ids)])
        nothing = min(nothing, float(starts[0] * ends[0]))
        for first, last, score in _spans(window, starts, ends, settings):
            start, end = _characters(window, first, last, settings.whole_words)
            text = context[start:end]
            known = found.get(text.lower())
            if known is not None:
                found[text.lower()] = Answer(known.text, known.score + score, known.start, known.end)
            else:
                found[text.lower()] = Answer(text, score, start, end)
    ranked = sorted(found.values(), key=lambda candidate: -candidate.score)
    if settings.no_answer is not None:
        lead = settings.no_answer
        empty = Answer("", nothing, 0, 0)
        place = next((n for n, a in enumerate(ranked) if nothing > a.score + lead), len(ranked))
        ranked.insert(place, empty)
    return ranked[: settings.top_k]


def _probabilities(window: "Encoding", logits: Floats) -> Floats:
    """[2, tokens] over the context and the first token, which stands for "no answer"."""
    return softmax(np.where(_allowed(window), logits, _HIDDEN))


def _allowed(window: "Encoding") -> np.ndarray:
    allowed = np.array([sequence == _CONTEXT for sequence in window.sequence_ids])
    allowed[0] = True
    return allowed


def _spans(
    window: "Encoding", starts: Floats, ends: Floats, settings: _Settings
) -> Iterator[tuple[int, int, float]]:
    """(first token, last token, score) of the best spans inside the context, best first."""
    starts, ends = starts.copy(), ends.copy()
    starts[0] = ends[0] = 0.0
    scores = np.tril(np.triu(np.outer(starts, ends)), settings.max_answer_tokens - 1)
    wanted = 2 * settings.top_k + _SPARE if settings.whole_words else settings.top_k
    allowed = _allowed(window)
    for place in _largest(scores.ravel(), wanted):
        first, last = divmod(int(place), len(ends))
        if first and allowed[first] and allowed[last]:
            yield first, last, float(scores[first, last])


def _largest(values: Floats, count: int) -> np.ndarray:
    """Places of the `count` largest, largest first."""
    places = np.argpartition(-values, count)[:count] if count < len(values) else np.arange(len(values))
    return places[np.argsort(-values[places], kind="stable")]


def _characters(window: "Encoding", first: int, last: int, whole_words: bool) -> tuple[int, int]:
    """Of the context. Tokens that belong to no word keep their own."""
    if whole_words:
        words = [window.token_to_word(place) for place in (first, last)]
        spans = [None if word is None else window.word_to_chars(word, _CONTEXT) for word in words]
        if spans[0] is not None and spans[1] is not None:
            return spans[0][0], spans[1][1]
    return window.offsets[first][0], window.offsets[last][1]
