"""Sentence embeddings: pooling and what follows it, as modules.json of sentence-transformers says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from platon_compress.errors import InputError
from platon_compress.progress import Progress
from platon_compress.runtime.batches import Batch
from platon_compress.runtime.folder import ModelFolder
from platon_compress.runtime.modules import SentenceModules, read_modules
from platon_compress.runtime.numbers import Floats
from platon_compress.runtime.texts import TextEngine
from platon_compress.runtime.tokens import check_texts

__all__ = ["POOLINGS", "Embedder", "open_embedder", "pooled"]

_TINY = 1e-9  # torch's lower bound of the number of tokens; 1e-12 of the length that is divided by


def _first(vectors: Floats, mask: np.ndarray) -> Floats:
    """That of the first token of the text."""
    return vectors[np.arange(len(vectors)), mask.argmax(axis=1)]


def _last(vectors: Floats, mask: np.ndarray) -> Floats:
    """That of the last token of the text."""
    return vectors[np.arange(len(vectors)), mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)]


def _maximum(vectors: Floats, mask: np.ndarray) -> Floats:
    return np.where(mask[..., None], vectors, -np.inf).max(axis=1).astype(vectors.dtype)


def _weighted(
    vectors: Floats, mask: np.ndarray, weigh: Callable[[Floats], Floats], divide: Callable[[Floats], Floats]
) -> Floats:
    """Sum of weight times vector over `divide` of the weights' sum."""
    weights = weigh(mask.astype(vectors.dtype))
    sums = np.einsum("btd,bt->bd", vectors, weights)
    return sums / divide(np.maximum(weights.sum(axis=1, keepdims=True), _TINY))


def _positions(mask: Floats) -> Floats:
    """Later tokens weigh more: 1, 2, 3, ..."""
    return mask * np.arange(1, mask.shape[1] + 1, dtype=mask.dtype)


def _same(values: Floats) -> Floats:
    return values


POOLINGS: Mapping[str, Callable[[Floats, np.ndarray], Floats]] = {
    "cls": _first,
    "max": _maximum,
    "mean": partial(_weighted, weigh=_same, divide=_same),
    "mean_sqrt_len_tokens": partial(_weighted, weigh=_same, divide=np.sqrt),
    "weightedmean": partial(_weighted, weigh=_positions, divide=_same),
    "lasttoken": _last,
}
"""Name to vectors [batch, tokens, size] and mask [batch, tokens] -> [batch, size], as in sentence-transformers."""


@dataclass(frozen=True, kw_only=True)
class Embedder:
    """pooling: names of POOLINGS, their vectors stand side by side. include_prompt: whether a prompt's tokens count."""

    texts: TextEngine
    pooling: tuple[str, ...]
    normalize: bool
    include_prompt: bool
    lower: bool
    prompts: Mapping[str, str]
    default_prompt: str | None

    def encode(
        self,
        texts: Sequence[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        batch_size: int = 32,
        progress: Progress | None = None,
    ) -> Floats:
        """float32 [texts, size]. `prompt`, or the one of that name, is put before every text."""
        before = self._prompt(prompt_name, prompt)
        whole = [before + text for text in check_texts(texts)]
        whole = [text.lower() for text in whole] if self.lower else whole
        skipped = 0 if self.include_prompt or not before else self._prompt_tokens(before)
        vectors = self.texts.run_whole(
            whole, lambda batch: self._pool(batch, skipped), batch_size=batch_size, progress=progress
        )
        if not vectors:
            return np.zeros((0, self._width()), np.float32)
        found = np.stack(vectors).astype(np.float32)
        return _unit(found) if (self.normalize if normalize is None else normalize) else found

    def _prompt(self, name: str | None, text: str | None) -> str:
        if text is not None:
            return text
        name = name or self.default_prompt
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise InputError(
                f"there is no prompt {name!r} (known: {known}); give prompt= with the text itself"
            )
        return self.prompts[name]

    def _prompt_tokens(self, prompt: str) -> int:
        """Tokens that stand before the text: the prompt's, and special ones at the start."""
        (encoding,) = self.texts.tokenizer.encode([prompt])
        return len(encoding.ids) - bool(encoding.special_tokens_mask[-1])

    def _width(self) -> int:
        """Of an embedding, as the model file declares it; 0 where it leaves that open."""
        outputs = {value.name: value.shape[-1] for value in self.texts.engine.session.get_outputs()}
        if "sentence_embedding" in outputs:
            size, count = outputs["sentence_embedding"], 1
        else:
            size, count = outputs.get("token_embeddings", next(iter(outputs.values()))), len(self.pooling)
        return count * size if isinstance(size, int) else 0

    def _pool(self, batch: Batch, skipped: int) -> np.ndarray:
        if "sentence_embedding" in batch.outputs:
            return batch.outputs["sentence_embedding"]
        vectors = batch.outputs.get("token_embeddings", batch.first)
        if vectors.ndim != 3:
            raise InputError(
                f"the model's first output has {vectors.ndim} axes, embeddings need [batch, tokens, size]; "
                "export the model without a head"
            )
        mask = batch.mask
        starts = mask.argmax(axis=1)[:, None] + skipped
        mask = mask & (np.arange(mask.shape[1]) >= starts) if skipped else mask
        return _side_by_side(vectors, mask, self.pooling)


def open_embedder(folder: ModelFolder, texts: TextEngine, pooling: str | None) -> Embedder:
    """`pooling` instead of the folder's own. Raises InputError when there is none, or for modules we cannot run."""
    modules = read_modules(folder.path)
    names = (pooling,) if pooling is not None else modules.pooling
    embeds_itself = "sentence_embedding" in {value.name for value in texts.engine.session.get_outputs()}
    if not names and not embeds_itself:
        raise InputError(
            f"{folder.path} names no pooling (modules.json, 1_Pooling); give pooling=, for example mean"
        )
    if unknown := [name for name in names if name not in POOLINGS]:
        raise InputError(f"there is no pooling {unknown[0]!r}; choose from {', '.join(POOLINGS)}")
    settings = folder.sentence_settings
    return Embedder(
        texts=texts,
        pooling=names,
        normalize=modules.normalize,
        include_prompt=modules.include_prompt,
        lower=bool(folder.settings("sentence_bert_config.json").get("do_lower_case")),
        prompts=settings.get("prompts") or {},
        default_prompt=settings.get("default_prompt_name"),
    )


def pooled(vectors: Floats, mask: np.ndarray, modules: SentenceModules) -> Floats:
    """One vector a text, [batch, poolings * size], of length 1 where the modules say so."""
    found = _side_by_side(vectors, mask, modules.pooling)
    return _unit(found) if modules.normalize else found


def _side_by_side(vectors: Floats, mask: np.ndarray, names: Sequence[str]) -> Floats:
    return np.concatenate([POOLINGS[name](vectors, mask) for name in names], axis=-1)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
