"""Models that start from nothing: built from a recipe's config fields, refused where no machine could hold them."""

import difflib
import os
from collections.abc import Mapping
from typing import Any

from platon_compress.errors import InputError, first_line
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.models import spec_of, transformers_module, with_sentence_files

__all__ = ["build_model"]


def build_model(config: Mapping[str, Any], task: str, head: Mapping[str, Any], seed: int) -> Checkpoint:
    """Build an untrained model from config fields (`model_type` plus its own), weights drawn from `seed`."""
    import torch

    from platon_compress.structure import check_depth

    transformers = transformers_module()
    fields = dict(config)
    model_type = fields.pop("model_type", None)
    if model_type not in transformers.CONFIG_MAPPING:
        raise InputError(
            f"model.config.model_type is {model_type!r}, which transformers does not know; write for example vit or bert"
        )
    _refuse_unknown_fields(transformers.CONFIG_MAPPING[model_type], fields)
    auto = getattr(transformers, spec_of(task).auto_class)
    try:
        hf_config = transformers.AutoConfig.for_model(model_type, **fields, **head)
        hf_config._attn_implementation = "eager"
        check_depth(hf_config, "model.config")
        with torch.device("meta"):
            outline = auto.from_config(hf_config, attn_implementation="eager")
        _refuse_more_than_memory(sum(p.numel() * p.element_size() for p in outline.parameters()))
        torch.manual_seed(seed)
        model = auto.from_config(hf_config, attn_implementation="eager")
    except InputError:
        raise
    except Exception as error:  # sizes that do not divide, fields of another type, and more
        raise InputError(
            f"model.config builds no {model_type} model: {first_line(error)}; fix its fields"
        ) from error
    processor = _small_image_processor(hf_config) if spec_of(task).modality == "image" else None
    return with_sentence_files(Checkpoint(model.eval(), processor, task), None)


def _refuse_more_than_memory(size_bytes: int) -> None:
    """Weights that fill the memory end the process without a word."""
    try:
        memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not said on this system
        return
    if size_bytes > memory_bytes // 2:
        raise InputError(
            f"model.config makes a model of {size_bytes / 1e9:,.0f} GB, and this machine has {memory_bytes / 1e9:,.0f} GB; "
            "lower its sizes"
        )


def _refuse_unknown_fields(kind: Any, fields: Mapping[str, Any]) -> None:
    """transformers keeps a field that it does not know, and does nothing with it."""
    try:
        default = kind()
    except Exception:  # some configs are made of others, and have no default
        return
    for field in fields:
        if not hasattr(default, field):
            close = difflib.get_close_matches(field, default.to_dict(), n=1)
            guess = f"did you mean {close[0]}?" if close else "leave it out"
            raise InputError(f"model.config holds {field!r}, which {kind.__name__} does not have; {guess}")


def _small_image_processor(config: Any) -> Any:
    """A processor that only scales pixels to [-1, 1], for images that already have the model's size."""
    channels = config.num_channels
    return transformers_module().ViTImageProcessor(
        do_resize=False,
        size={"height": config.image_size, "width": config.image_size},
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=[0.5] * channels,
        image_std=[0.5] * channels,
    )
