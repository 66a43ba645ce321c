"""Encoders of usual shapes with random weights and masks, as torch models and as ONNX files.

Times do not depend on the weights; the vocabulary is small, because a lookup costs nothing whatever its table holds.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "BERT_BASE",
    "VIT_B16",
    "Shape",
    "halved",
    "model_file",
    "random_inputs",
    "random_model",
    "zero_half_of_the_units",
]

_TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}


@dataclass(frozen=True, kw_only=True)
class Shape:
    """`config` builds the model, `inputs` are its settings: (tokens, batch), tokens None for images."""

    name: str
    config_class: str
    architecture: str
    inputs: tuple[tuple[int | None, int], ...]
    config: dict[str, Any] = field(default_factory=dict)
    tiny: dict[str, Any] = field(default_factory=dict)


BERT_BASE = Shape(
    name="bert-base",
    config_class="BertConfig",
    architecture="BertForSequenceClassification",
    inputs=((128, 1), (16, 1), (128, 8)),
    config={"vocab_size": 1024},
)
VIT_B16 = Shape(
    name="vit-b16",
    config_class="ViTConfig",
    architecture="ViTForImageClassification",
    inputs=((None, 1),),
    tiny={"image_size": 32},
)


def random_model(shape: Shape, *, tiny: bool = False, layers: int | None = None) -> Any:
    """The torch model in eval mode, the same at every call; `layers` instead of the shape's own number."""
    import torch
    import transformers

    torch.manual_seed(0)
    settings = {**shape.config, **({**_TINY, **shape.tiny} if tiny else {})}
    if layers is not None:
        settings["num_hidden_layers"] = layers
    config = getattr(transformers, shape.config_class)(**settings)
    config.architectures = [shape.architecture]
    return getattr(transformers, shape.architecture)(config).eval()


def random_inputs(model: "nn.Module", batch: int, tokens: int | None) -> dict[str, Any]:
    """Random ids [batch, tokens] without padding, or images [batch, channels, height, width]; on the model's device."""
    import torch

    config: Any = model.config
    device = next(model.parameters()).device
    if tokens is None:
        return {
            "pixel_values": torch.randn(
                batch, config.num_channels, config.image_size, config.image_size, device=device
            )
        }
    ids = torch.randint(5, config.vocab_size, (batch, tokens), device=device)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def zero_half_of_the_units(model: "nn.Module") -> dict[str, Any]:
    """Masks (True = kept) without the input columns of every second head and neuron, so that these can go exactly."""
    import torch

    from platon_compress.structure import find_couplings

    masks = {}
    for coupling in find_couplings(model):
        name = f"{coupling.consumer}.weight"
        units = torch.arange(coupling.units) % 2 == 0
        masks[name] = units.repeat_interleave(coupling.unit_size).expand_as(model.get_parameter(name))
    return masks


def halved(model: "nn.Module") -> Any:
    """A copy without every second head and neuron, as convert() shrinks it; `model` loses their columns, in place."""
    from platon_compress import PlanConfig, bake, convert, plan
    from platon_compress.planning import Form

    baked = bake(model, zero_half_of_the_units(model))
    return convert(baked, plan(baked, PlanConfig(tokens=128, force=Form.STRUCTURED)))


def model_file(shape: Shape, folder: Path, name: str, *, tiny: bool = False) -> Path:
    """`name` of "dense", "int8", "structured" or a sparsity in percent ("90": CSR everywhere), made where it is missing."""
    path = folder / f"{shape.name}{'-tiny' if tiny else ''}" / f"{name}.onnx"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        if name == "int8":
            _quantize(shape, model_file(shape, folder, "dense", tiny=tiny), path, tiny)
        else:
            _export(shape, path, _MADE.get(name) or (lambda model: _sparse(model, int(name) / 100)), tiny)
    return path


def _quantize(shape: Shape, dense: Path, path: Path, tiny: bool) -> None:
    from platon_compress.export.int8 import quantize_int8

    inputs = _example_inputs(shape, random_model(shape, tiny=tiny))
    quantize_int8(dense, path, [{name: value.numpy() for name, value in inputs.items()}])


def _example_inputs(shape: Shape, model: "nn.Module") -> dict[str, Any]:
    return random_inputs(model, 2, None if shape.inputs[0][0] is None else 16)


def _export(shape: Shape, path: Path, make: Callable[[Any], Any], tiny: bool) -> None:
    from platon_compress.export import export_onnx
    from platon_compress.export.config import ExportConfig

    model = random_model(shape, tiny=tiny)
    inputs = _example_inputs(shape, model)
    export_onnx(make(model), path, inputs, ExportConfig(check=False))


def _sparse(model: "nn.Module", sparsity: float) -> Any:
    import torch

    from platon_compress import PlanConfig, bake, convert, plan
    from platon_compress.planning import Form
    from platon_compress.selection import select

    baked = bake(model, {name: torch.rand_like(p) >= sparsity for name, p in select(model).items()})
    return convert(baked, plan(baked, PlanConfig(tokens=128, force=Form.CSR)))


_MADE: dict[str, Callable[[Any], Any]] = {"dense": lambda model: model, "structured": halved}
