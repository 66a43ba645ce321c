"""What a model takes: the names of its inputs, tokens per text, words, the size and the channels of its pictures."""

import inspect
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from platon_compress.tasks.checkpoint import Checkpoint

__all__ = [
    "DEFAULT_TOKENS",
    "default_tokens",
    "input_names",
    "picture_channels",
    "picture_size",
    "positions",
    "taken_inputs",
    "vocabulary",
]

DEFAULT_TOKENS = 128
_SIZE_CURE = "write do_resize and size (height, width) into preprocessor_config.json"
_TOKENS_CURE = "say how many tokens a picture makes: plan.tokens, or --tokens of compress"


def taken_inputs(model: "nn.Module") -> frozenset[str]:
    """Names of the arguments that the model's `forward` knows."""
    return frozenset(inspect.signature(type(model).forward).parameters) - {"self"}


def input_names(checkpoint: "Checkpoint") -> tuple[str, ...]:
    """What the tokenizer makes and the model takes."""
    if checkpoint.processor is not None:
        made = tuple(checkpoint.processor.model_input_names)
    else:
        types = getattr(checkpoint.model.config, "type_vocab_size", 0)
        made = ("input_ids", "attention_mask", *(["token_type_ids"] if types > 1 else []))
    taken = taken_inputs(checkpoint.model)
    return tuple(name for name in made if name in taken)


def positions(model: "nn.Module") -> int | None:
    """The longest text in tokens, None where the model names no limit.

    RoBERTa-like models count from behind the padding's own position, so that their last positions are out of reach.
    """
    from torch import nn

    config: Any = model.config
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and "position" in name.rpartition(".")[2]:
            skipped = 0 if module.padding_idx is None else module.padding_idx + 1
            if module.num_embeddings == limit:
                return limit - skipped
    return limit


def vocabulary(model: "nn.Module") -> int:
    """Rows of the table of words."""
    try:
        table = model.get_input_embeddings()  # type: ignore[operator]
    except NotImplementedError:  # transformers finds no table
        table = None
    size = getattr(table, "num_embeddings", None) or getattr(model.config, "vocab_size", 0)
    if not isinstance(size, int) or size <= 0:
        raise InputError(
            f"{type(model).__name__} has no table of words, so its inputs are no texts; give another task"
        )
    return size


def picture_channels(config: Any) -> int:
    """Channels of the pictures, 3 where the config says nothing."""
    channels = getattr(_vision(config), "num_channels", 3)
    return channels if isinstance(channels, int) else 3


def picture_size(checkpoint: "Checkpoint") -> tuple[int, int]:
    """Height and width: the processor's output where it has one size (DINOv2 is run below its maximum)."""
    processor: Any = checkpoint.processor
    crop = getattr(processor, "crop_size", None) if getattr(processor, "do_center_crop", False) else None
    size = crop or (getattr(processor, "size", None) if getattr(processor, "do_resize", False) else None)
    try:
        return int(size["height"]), int(size["width"])  # type: ignore[index]
    except (KeyError, TypeError):
        return _pair(_of_pictures(checkpoint.model.config, "image_size", _SIZE_CURE))


def default_tokens(checkpoint: "Checkpoint", max_length: int | None = None) -> int:
    """Tokens per example that a plan is made for where nobody says: a text's length, or a picture's patches.

    Raises InputError for pictures where the config does not say how they are cut.
    """
    if checkpoint.modality == "image":
        config = checkpoint.model.config
        sides = _pair(_of_pictures(config, "image_size", _TOKENS_CURE))
        patches = _pair(_of_pictures(config, "patch_size", _TOKENS_CURE))
        return (max(sides) // max(patches)) ** 2 + 1
    return min(max_length or DEFAULT_TOKENS, DEFAULT_TOKENS, positions(checkpoint.model) or DEFAULT_TOKENS)


def _vision(config: Any) -> Any:
    """The part that describes the pictures, in models that also have a text encoder."""
    return getattr(config, "vision_config", config)


def _of_pictures(config: Any, name: str, cure: str) -> Any:
    value = getattr(_vision(config), name, None)
    if value is None:
        raise InputError(
            f"the config of this {getattr(config, 'model_type', 'model')} names no {name}; {cure}"
        )
    return value


def _pair(size: Any) -> tuple[int, int]:
    return (int(size), int(size)) if isinstance(size, int | float) else (int(size[0]), int(size[1]))
