"""Named entities: labels of tokens to spans of characters, texts of any length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from platon_compress.errors import InputError
from platon_compress.progress import Progress
from platon_compress.runtime.batches import Batch
from platon_compress.runtime.folder import ModelFolder
from platon_compress.runtime.numbers import Floats, softmax
from platon_compress.runtime.texts import TextEngine
from platon_compress.runtime.tokens import TextTokenizer, check_texts

if TYPE_CHECKING:
    from tokenizers import Encoding

__all__ = ["Aggregation", "Entity", "entities"]

Aggregation = Literal["simple", "first", "average", "max"]
_OUTSIDE = "O"
_BEGINS, _ENDS = "BSU", "ESLU"  # BIO, BIOES and BILOU: which prefixes open an entity, and which close it


@dataclass(frozen=True)
class Entity:
    """`text` is `texts[i][start:end]`; score: mean probability over its tokens or words."""

    label: str
    score: float
    start: int
    end: int
    text: str


@dataclass(frozen=True)
class _Piece:
    """A token or word: its scores over the labels, its characters, and whether it goes on a word."""

    scores: Floats
    start: int
    end: int
    inside_word: bool


def entities(
    folder: ModelFolder,
    texts: TextEngine,
    inputs: Sequence[str],
    *,
    aggregation: Aggregation = "simple",
    stride: int | None = None,
    batch_size: int = 32,
    progress: Progress | None = None,
) -> list[list[Entity]]:
    """The entities of every text, in the order of their characters.

    aggregation: "simple" takes each token's own label; "first", "average" and "max" give a word one label, that of its
    first token, of the mean of their scores, or of the most certain token. stride: tokens that neighbouring windows of
    a long text share (None: a quarter of the window, at most 64); of entities that overlap there the longer one stays.
    Raises InputError for an unknown aggregation and a stride that leaves no room.
    """
    given = check_texts(inputs)
    _check(aggregation)

    def found(text: str, windows: "list[tuple[Encoding, Floats]]") -> list[Entity]:
        own: list[Entity] = []
        for window, logits in windows:
            pieces = _pieces(window, softmax(logits[: len(window.ids)]), text, texts.tokenizer)
            own += _groups(_words(pieces, aggregation), folder.labels(logits.shape[-1]), text)
        return _without_overlap(own) if len(windows) > 1 else own

    return texts.run(
        given,
        lambda part: _windows(texts, part, stride),
        _token_scores,
        found,
        batch_size=batch_size,
        progress=progress,
    )


def _check(aggregation: str) -> None:
    if aggregation not in get_args(Aggregation):
        raise InputError(f"no aggregation {aggregation!r}; choose from {', '.join(get_args(Aggregation))}")


def _windows(texts: TextEngine, given: Sequence[str], stride: int | None) -> "list[list[Encoding]]":
    """Every text's pieces that fit into the model, one for most."""
    limit = texts.tokenizer.max_tokens
    room = None if limit is None else limit - texts.tokenizer.special_count()
    shared = (0 if room is None else min(64, room // 4)) if stride is None else stride
    if shared < 0 or (room is not None and shared >= room):
        raise InputError(
            f"stride must lie in 0..{(room or 1) - 1}, got {stride}; it is the overlap of two windows"
        )
    return [[encoding, *encoding.overflowing] for encoding in texts.tokenizer.encode(given, stride=shared)]


def _token_scores(batch: Batch) -> Floats:
    """[batch, tokens, labels], each row's own tokens first."""
    if batch.first.ndim != 3:
        raise InputError(
            f"the model's first output has {batch.first.ndim} axes, entities need [batch, tokens, labels]; "
            "export it with its head"
        )
    mask = batch.mask
    order = np.argsort(~mask, axis=1, kind="stable")  # padding on the left goes to the right
    return np.take_along_axis(batch.first.astype(np.float32), order[..., None], axis=1)


def _pieces(window: "Encoding", scores: Floats, text: str, tokenizer: TextTokenizer) -> list[_Piece]:
    """Tokens of the text, special ones left out."""
    return [
        _Piece(
            scores[place],
            window.offsets[place][0],
            window.offsets[place][1],
            _inside_word(window, place, text, tokenizer),
        )
        for place, special in enumerate(window.special_tokens_mask)
        if not special
    ]


def _inside_word(window: "Encoding", place: int, text: str, tokenizer: TextTokenizer) -> bool:
    """WordPiece marks pieces inside a word, which makes them longer than what they stand for; for others, a word is
    what spaces surround."""
    start, end = window.offsets[place]
    if window.ids[place] == tokenizer.unknown_id:
        return False
    if tokenizer.knows_words:
        return len(window.tokens[place]) != end - start
    return start > 0 and " " not in text[start - 1 : start + 1]


def _words(pieces: Sequence[_Piece], aggregation: Aggregation) -> list[_Piece]:
    """Pieces of one word joined; with "simple" they stay as they are."""
    if aggregation == "simple":
        return list(pieces)
    groups: list[list[_Piece]] = []
    for piece in pieces:
        if groups and piece.inside_word:
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return [
        replace(group[0], scores=_joined([p.scores for p in group], aggregation), end=group[-1].end)
        for group in groups
    ]


def _joined(scores: Sequence[Floats], aggregation: Aggregation) -> Floats:
    if aggregation == "first":
        return scores[0]
    if aggregation == "max":
        return max(scores, key=lambda values: values.max())
    return np.mean(scores, axis=0)


def _groups(pieces: Sequence[_Piece], names: Sequence[str], text: str) -> Iterator[Entity]:
    """Neighbours of one tag, as their prefixes join and part them."""
    prefixes = _prefixes(names)
    current: list[tuple[_Piece, float]] = []
    last_prefix, last_tag = "", _OUTSIDE
    for piece in pieces:
        best = int(piece.scores.argmax())
        prefix, tag = _split(names[best], prefixes)
        if current and (tag != last_tag or prefix in _BEGINS or last_prefix in _ENDS):
            yield from _entity(current, last_tag, text)
            current = []
        current.append((piece, float(piece.scores[best])))
        last_prefix, last_tag = prefix, tag
    yield from _entity(current, last_tag, text)


def _prefixes(names: Sequence[str]) -> str:
    """Letters that stand for places in an entity: B and I, and the others where every label has one ("E-mail" has none)."""
    tagged = [name for name in names if name != _OUTSIDE]
    return "BIESLU" if all(name[1:2] == "-" and name[0] in "BIESLU" for name in tagged) else "BI"


def _split(name: str, prefixes: str) -> tuple[str, str]:
    """Prefix and tag: "B-PER" is ("B", "PER"); a name without a prefix goes on with itself."""
    return (name[0], name[2:]) if name[1:2] == "-" and name[0] in prefixes else ("I", name)


def _entity(pieces: Sequence[tuple[_Piece, float]], tag: str, text: str) -> Iterator[Entity]:
    """Nothing for what is outside, and for a token that stands for no character (a space by itself)."""
    if not pieces or tag == _OUTSIDE:
        return
    start, end = pieces[0][0].start, pieces[-1][0].end
    if start < end:
        score = float(np.mean([score for _, score in pieces]))
        yield Entity(label=tag, score=score, start=start, end=end, text=text[start:end])


def _without_overlap(found: Sequence[Entity]) -> list[Entity]:
    """Of two that overlap the longer one, of equally long ones the more certain one."""
    kept: list[Entity] = []
    for entity in sorted(found, key=lambda entity: entity.start):
        if not kept or entity.start >= kept[-1].end:
            kept.append(entity)
        elif (entity.end - entity.start, entity.score) > (kept[-1].end - kept[-1].start, kept[-1].score):
            kept[-1] = entity
    return kept
