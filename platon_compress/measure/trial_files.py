"""Real files of a model that nobody has trained yet, and their times: dense, dense int8, random masks."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, first_line
from platon_compress.export.session import open_session
from platon_compress.measure.timing import measure_interleaved

if TYPE_CHECKING:
    import torch

    from platon_compress.planning import PlanConfig

__all__ = [
    "DENSE",
    "DENSE_INT8",
    "dense_files",
    "deployment",
    "evaluating",
    "made_up_inputs",
    "masked_file",
    "time_files",
]

DENSE, DENSE_INT8 = "dense", "dense_int8"
"""Names of the two files that every user has."""


@contextmanager
def evaluating(model: "torch.nn.Module") -> Iterator[None]:
    """The model in eval mode, and then as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def made_up_inputs(model: Any, *, batch: int, tokens: int) -> "dict[str, torch.Tensor]":
    """Random ids or pixels of the size that the model's config states."""
    import torch

    generator = torch.Generator().manual_seed(0)
    config: Any = getattr(model, "config", None)
    main = getattr(model, "main_input_name", None)
    if main == "pixel_values" and hasattr(config, "image_size"):
        side = config.image_size
        height, width = (side, side) if isinstance(side, int) else side
        shape = (batch, getattr(config, "num_channels", 3), height, width)
        return {"pixel_values": torch.randn(shape, generator=generator)}
    if main == "input_ids" and hasattr(config, "vocab_size"):
        low = min(5, config.vocab_size - 1)  # above the usual special tokens
        ids = torch.randint(low, config.vocab_size, (batch, tokens), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    raise InputError(f"cannot make up inputs for {type(model).__name__}; give example_inputs")


def deployment(
    model: Any, inputs: "Mapping[str, torch.Tensor]", threads: int | None, cost_table: Path | None
) -> "PlanConfig":
    """The rows that really reach the first prunable linear layer: image models have their own token count."""
    import torch

    from platon_compress.planning import PlanConfig
    from platon_compress.selection import select

    batch = len(next(iter(inputs.values())))
    seen: list[int] = []
    path = next(iter(select(model))).removesuffix(".weight")
    handle = model.get_submodule(path).register_forward_pre_hook(
        lambda module, args: seen.append(args[0].numel() // args[0].shape[-1])
    )
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        handle.remove()
    return PlanConfig(tokens=seen[0] // batch, batch=batch, threads=threads, cost_table=cost_table)


def dense_files(
    model: Any, inputs: "Mapping[str, torch.Tensor]", folder: Path
) -> tuple[dict[str, Path], tuple[str, ...]]:
    """dense at its best, attention in one node, and its dynamic int8 version: the cheap alternative that every user has."""
    from platon_compress.export.config import ExportConfig
    from platon_compress.export.int8 import quantize_int8
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET
    from platon_compress.export.torch_export import export_onnx

    dense, int8 = folder / f"{DENSE}.onnx", folder / f"{DENSE_INT8}.onnx"
    export_onnx(model, dense, inputs, ExportConfig(opset=ATTENTION_OPSET))
    try:
        choice = quantize_int8(dense, int8, [{name: value.numpy() for name, value in inputs.items()}])
    except InputError as error:
        return {DENSE: dense}, (first_line(error),)
    return {DENSE: dense, DENSE_INT8: int8}, (f"dense int8: {choice.setting}, by {choice.chosen_by}",)


def masked_file(
    model: Any,
    masks: "Mapping[str, torch.Tensor]",
    inputs: "Mapping[str, torch.Tensor]",
    config: "PlanConfig",
    path: Path,
    *,
    attention: str = "auto",
) -> dict[str, int]:
    """Write `model` with the zeros of `masks` as it would be shipped; layers by form. `model` is left as it is.

    attention: as `plan.attention`.
    """
    from platon_compress.baking import bake
    from platon_compress.conversion import convert
    from platon_compress.export.config import ExportConfig
    from platon_compress.export.passes.fuse_attention import ATTENTION_OPSET
    from platon_compress.export.quantize import attention_for
    from platon_compress.export.torch_export import export_onnx
    from platon_compress.planning import plan

    baked = bake(copy.deepcopy(model), masks)
    made = plan(baked, config)
    converted = convert(baked, made)
    settings = ExportConfig(attention=attention_for(attention, config.tokens))
    if not converted.csr:
        settings = replace(settings, opset=ATTENTION_OPSET)
    export_onnx(converted, path, inputs, settings)
    return made.spoken_counts()


def time_files(
    files: Mapping[str, Path], inputs: "Mapping[str, torch.Tensor]", threads: int, runs: int
) -> dict[str, tuple[float, ...]]:
    """Seconds of `runs` interleaved rounds by name, see :func:`platon_compress.measure.timing.compare`."""
    feed = {name: value.numpy() for name, value in inputs.items()}
    sides = {name: _runner(path, feed, threads) for name, path in files.items()}
    return measure_interleaved(sides, runs=runs, warmup=3)


def _runner(path: Path, feed: Mapping[str, Any], threads: int) -> Callable[[], object]:
    session = open_session(path, threads=threads, stop_spinning=True)
    taken = {value.name: feed[value.name] for value in session.get_inputs()}
    return lambda: session.run(None, taken)
