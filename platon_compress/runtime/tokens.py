"""Texts to token ids, as transformers' fast tokenizer of the same folder does it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.runtime.folder import ModelFolder

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

__all__ = ["Text", "TextTokenizer", "check_texts", "open_tokenizer"]

Text = str | tuple[str, str]
Strategy = Literal["longest_first", "only_first", "only_second"]
_EXTRA = "run `pip install 'platon-compress[runtime]'`"


@dataclass(frozen=True)
class TextTokenizer:
    """`tokenizers` with the settings of tokenizer_config.json.

    max_tokens: longest input, special tokens included; None: no limit. pad_id, pad_left: for batches. unknown_id: of
    what the vocabulary lacks, None where there is no such token.
    """

    tokenizer: "Tokenizer"
    max_tokens: int | None
    pad_id: int
    unknown_id: int | None
    pad_left: bool
    cut_left: bool
    lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def knows_words(self) -> bool:
        """Whether a piece inside a word is marked as one (WordPiece)."""
        return bool(getattr(self.tokenizer.model, "continuing_subword_prefix", None))

    def special_count(self, *, pair: bool = False) -> int:
        """Tokens that are added to a text, or to a pair."""
        return self.tokenizer.num_special_tokens_to_add(pair)

    def encode(
        self,
        texts: Sequence[Text],
        *,
        max_tokens: int | None = None,
        strategy: Strategy = "longest_first",
        stride: int = 0,
    ) -> "list[Encoding]":
        """One encoding per text or pair, cut to `max_tokens` (None: the tokenizer's own limit), nothing padded.

        What is cut off lies in `.overflowing`; neighbours there share `stride` tokens. Raises InputError when a
        question leaves no room, or the limit none at all.
        """
        limit = self.max_tokens if max_tokens is None else max_tokens
        special = self.special_count(pair=any(not isinstance(text, str) for text in texts))
        if limit is not None and limit <= special:
            raise InputError(
                f"a limit of {limit} tokens leaves none to a text beside {special} special ones; raise it"
            )
        try:
            with self.lock:  # the limit is a setting of the tokenizer, and several threads may share a runner
                self.tokenizer.no_truncation()
                if limit is not None:
                    side = "left" if self.cut_left else "right"
                    self.tokenizer.enable_truncation(limit, stride=stride, strategy=strategy, direction=side)
                return self.tokenizer.encode_batch(list(texts))
        except Exception as error:  # the library raises plain Exception, and panics for impossible limits
            raise InputError(
                f"the texts do not fit into {limit} tokens: {first_line(error)}; shorten them or raise the limit"
            ) from error


def open_tokenizer(folder: ModelFolder) -> TextTokenizer:
    """Raises InputError without tokenizer.json, or where it cannot be read; MissingExtraError without `tokenizers`."""
    path = folder.path / "tokenizer.json"
    if not path.is_file():
        raise InputError(
            f"{folder.path} holds no tokenizer.json; copy the model's own into it (AutoTokenizer's save_pretrained)"
        )
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise MissingExtraError(f"texts need tokenizers, which is not installed; {_EXTRA}") from error
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain Exception
        raise InputError(f"{path} cannot be read: {first_line(error)}; save the tokenizer again") from error
    settings = folder.settings("tokenizer_config.json")
    _check_vocabulary(tokenizer, folder)
    tokenizer.no_padding()
    pad_id = _token_id(tokenizer, settings.get("pad_token") or "[PAD]")
    return TextTokenizer(
        tokenizer=tokenizer,
        max_tokens=folder.max_tokens,
        pad_id=0 if pad_id is None else pad_id,
        unknown_id=_token_id(tokenizer, settings.get("unk_token") or "[UNK]"),
        pad_left=settings.get("padding_side") == "left",
        cut_left=settings.get("truncation_side") == "left",
    )


def _token_id(tokenizer: "Tokenizer", token: Any) -> int | None:
    """Of a token as tokenizer_config.json names it: a string, or an object that holds it."""
    found: int | None = tokenizer.token_to_id(token["content"] if isinstance(token, dict) else token)
    return found


def check_texts(texts: Any, what: str = "texts") -> list[str]:
    """A list of strings. Raises InputError for one string alone, and names the first entry that is none."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InputError(
            f"{what} must be a list of strings, got a {type(texts).__name__}; write [text] for one"
        )
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{what} must be strings, entry {number} is a {type(text).__name__}; leave out what is missing"
            )
    return list(texts)


def _check_vocabulary(tokenizer: "Tokenizer", folder: ModelFolder) -> None:
    rows, highest = folder.config.get("vocab_size"), max(tokenizer.get_vocab().values(), default=-1)
    if isinstance(rows, int) and highest >= rows:
        raise InputError(
            f"tokenizer.json knows ids up to {highest}, the model has {rows} embeddings; use the model's own tokenizer"
        )
