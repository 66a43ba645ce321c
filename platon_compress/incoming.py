"""Modules as training leaves them, brought to the form that the later stages read; what cannot be brought is refused.

A Trainer in bf16 leaves `forward` wrapped in autocast, accelerate leaves hooks, torch.compile a second way to call the
module: a tracer would go through all of them, and round what it sees. Values are float32 from here on.
"""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress.errors import InputError
from platon_compress.structure import unwrap_model

__all__ = ["check_finite", "evaluating", "plain_copy", "plain_module", "steady"]

# How a wrapper names what it wraps: functools.wraps, torch.compile, bound methods.
_INNER = ("__wrapped__", "_torchdynamo_orig_callable", "__func__")


def plain_module(model: nn.Module) -> nn.Module:
    """The module inside its wrappers, called through its class's own `forward`, in float32; changed in place.

    Raises InputError for weights that are sharded, not loaded, or no floating-point numbers.
    """
    model = unwrap_model(model)
    _refuse_tensors(model)
    for module in model.modules():
        _restore_forward(module)
    return model.float() if _other_floats(model) else model


def plain_copy(model: nn.Module) -> nn.Module:
    """`model` where it is plain already, else a plain copy: the caller's module stays as it is."""
    inner = unwrap_model(model)
    _refuse_tensors(inner)
    if not _other_floats(inner) and not any(map(_is_patched, inner.modules())):
        return inner
    return plain_module(copy.deepcopy(inner))


def check_finite(model: nn.Module) -> None:
    """Raise InputError, naming the tensor, where a parameter or buffer of the checkpoint is NaN or infinite."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{name} holds {bad} values that are not finite; go back to a checkpoint from before training diverged"
            )


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """All of `model` in eval mode, and then every module as it was."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextlib.contextmanager
def steady(model: nn.Module) -> Iterator[None]:
    """Raise InputError where running `model` exchanges its own modules: the run is then not the one of longer inputs."""
    before = {name: type(module) for name, module in model.named_modules()}
    yield
    after = {name: type(module) for name, module in model.named_modules()}
    changed = next((name for name in before if after.get(name) is not before[name]), None)
    if changed is not None:
        raise InputError(
            f"{type(model).__name__} exchanged {changed} ({before[changed].__name__}) for inputs of this length; fix its "
            "attention first (for BigBird: attention_type original_full, in its config)"
        )


def _refuse_tensors(model: nn.Module) -> None:
    for name, tensor in model.named_parameters():
        if hasattr(tensor, "to_local"):
            raise InputError(
                f"{name!r} is sharded; gather the weights with torch.distributed.checkpoint.state_dict."
                "get_model_state_dict into a plain model and bake it with the masks of Pruner.full_masks()"
            )
        if tensor.is_meta:
            raise InputError(f"{name!r} is not in memory (meta device); load the model without offloading it")
        if not tensor.is_floating_point():
            raise InputError(
                f"{name!r} holds {_words(tensor)} values: the model is quantised; give the float model it was made from"
            )


def _words(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _other_floats(model: nn.Module) -> bool:
    tensors = (*model.parameters(), *model.buffers())
    return any(t.is_floating_point() and t.dtype != torch.float32 for t in tensors)


def _is_patched(module: nn.Module) -> bool:
    return bool({"forward", "_original_forward", "_old_forward", "_hf_hook"} & module.__dict__.keys()) or (
        getattr(module, "_compiled_call_impl", None) is not None
    )


def _restore_forward(module: nn.Module) -> None:
    """Take off accelerate's hooks and autocast and torch.compile; a `forward` of the caller's own stays."""
    own: dict[str, Any] = module.__dict__
    if "_hf_hook" in own:
        from accelerate.hooks import remove_hook_from_module

        remove_hook_from_module(module)
    own.pop("_original_forward", None)
    own.pop("_compiled_call_impl", None)
    if "forward" in own and _innermost(own["forward"]) is _innermost(type(module).forward):
        del own["forward"]


def _innermost(function: Any) -> Any:
    while True:
        inner = next((found for name in _INNER if (found := getattr(function, name, None)) is not None), None)
        if inner is None:
            return function
        function = inner
