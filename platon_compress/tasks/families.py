"""Models that cannot go through the tool, known from their config alone, each with the reason."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError

__all__ = ["refuse_adapter", "refuse_config", "saved_as"]

# model_type -> why the model cannot be one file for every batch: said before anything is downloaded. The trial export
# (`trial.check_export`) finds the others.
_REASONS: Mapping[str, str] = {
    "canine": "it reads characters, and cuts them into chunks by their number, which no fixed graph does",
    "fnet": "it takes no attention_mask, so that padding changes its answers",
    "funnel": "it pools the sequence, and makes its relative positions for one length, which no fixed graph does",
    "longformer": "it cuts the sequence into windows by its length, which no fixed graph does",
    "reformer": "it cuts or sorts the sequence into buckets by its length, which no fixed graph does",
    "xmod": "it picks layers by the language of every row, which no fixed graph does",
}
_CURE = "take a BERT-like encoder (BERT, RoBERTa, DeBERTa, ELECTRA, ModernBERT, ViT, ...)"


def refuse_config(config: Any, name: str) -> None:
    """Raise InputError, with the reason, for a model whose config says that it cannot be pruned and exported."""
    kind = getattr(config, "model_type", "")
    if kind in _REASONS:
        raise InputError(f"the model {name!r} is a {kind} model: {_REASONS[kind]}; {_CURE}")
    saved = saved_as(config)
    if saved.endswith("EncoderModel"):
        raise InputError(
            f"the model {name!r} ({saved}) is half of an encoder with a decoder, and AutoModel loads both or none; {_CURE}"
        )
    if getattr(config, "is_encoder_decoder", False):
        raise InputError(
            f"the model {name!r} ({kind}) is an encoder with a decoder; this tool takes encoders: {_CURE}"
        )
    if (method := _quantised(config)) is not None:
        raise InputError(
            f"the model {name!r} is quantised ({method}); give the float checkpoint that it was made from"
        )
    if getattr(config, "attention_type", None) == "block_sparse":
        raise InputError(
            f"the model {name!r} changes its attention with the length of its input (attention_type block_sparse); "
            "write original_full there, in its config.json, if your texts are short"
        )
    if hasattr(config, "text_config") and hasattr(config, "vision_config") and saved.endswith("Model"):
        halves = _halves(config)
        cure = (
            f"load the one you need ({halves}) from it, save that, and give what you saved"
            if halves
            else _CURE
        )
        raise InputError(f"the model {name!r} ({kind}) is two encoders in one; {cure}")


def _halves(config: Any) -> str:
    """The classes of the encoders inside that the auto classes of transformers can load alone."""
    from transformers import CONFIG_MAPPING

    halves = (config.text_config, config.vision_config)
    return " or ".join(
        type(half).__name__.removesuffix("Config") + "Model"
        for half in halves
        if getattr(half, "model_type", "") in CONFIG_MAPPING
    )


def saved_as(config: Any) -> str:
    """The class that was saved, "" where a config names none."""
    names = getattr(config, "architectures", None)
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def refuse_adapter(folder: Path) -> None:
    """Raise InputError for a folder with nothing but an adapter, whose weights belong to another model."""
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise InputError(
            f"{folder} holds an adapter (PEFT), not a model; merge it with merge_and_unload() and save the model"
        )


def _quantised(config: Any) -> str | None:
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(method or "quantization_config")
