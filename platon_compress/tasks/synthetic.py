"""Random inputs that a model takes: to trace it, and to check parity where no data was given."""

from typing import Any

import numpy as np

from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.dimensions import input_names, picture_channels, picture_size, vocabulary

__all__ = ["example_inputs", "synthetic_batches"]


def example_inputs(checkpoint: Checkpoint, tokens: int = 8) -> dict[str, Any]:
    """Two small examples that trace the model: {input name: tensor [2, ...]}."""
    import torch

    batch = synthetic_batches(checkpoint, examples=2, tokens=tokens)[0]
    return {name: torch.from_numpy(array) for name, array in batch.items()}


def synthetic_batches(
    checkpoint: Checkpoint, *, examples: int, tokens: int = 64, seed: int = 0, batch_size: int = 8
) -> list[dict[str, np.ndarray]]:
    """Random inputs of mixed lengths with padding, for parity checks where no data was given.

    The batches' longest texts spread evenly up to `tokens`, as batches of real texts differ.
    """
    generator = np.random.default_rng(seed)
    sizes = [min(batch_size, examples - start) for start in range(0, examples, batch_size)]
    make = _random_pixels if checkpoint.modality == "image" else _random_tokens
    longest = [max(2, tokens * number // len(sizes)) for number in range(1, len(sizes) + 1)]
    return [make(checkpoint, size, most, generator) for size, most in zip(sizes, longest, strict=True)]


def _random_tokens(
    checkpoint: Checkpoint, size: int, tokens: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    words = vocabulary(checkpoint.model)
    lengths = generator.integers(min(max(2, tokens // 4), tokens), tokens + 1, size)
    lengths[0] = tokens
    mask = (np.arange(tokens)[None, :] < lengths[:, None]).astype(np.int64)
    # Identifiers below 5 are special tokens or padding in the families we know.
    ids = generator.integers(min(5, words - 1), words, (size, tokens))
    pad = getattr(checkpoint.model.config, "pad_token_id", None) or 0
    batch = {"input_ids": np.where(mask == 1, ids, pad).astype(np.int64), "attention_mask": mask}
    return {name: batch[name] if name in batch else np.zeros_like(mask) for name in input_names(checkpoint)}


def _random_pixels(
    checkpoint: Checkpoint, size: int, tokens: int, generator: np.random.Generator
) -> dict[str, np.ndarray]:
    del tokens
    channels = picture_channels(checkpoint.model.config)
    pixels = generator.standard_normal((size, channels, *picture_size(checkpoint)))
    return {"pixel_values": pixels.astype(np.float32)}
