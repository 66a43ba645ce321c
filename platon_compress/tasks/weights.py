"""The weights of a checkpoint as its files hold them: what other tools leave in them is folded, or refused.

Rules:

1. A file is read with safetensors, or with `torch.load(weights_only=True)`: no code of a checkpoint runs.
2. Wrappers in names and the masks of pruning tools are understood (`platon_compress.baking.plain_state_dict`), in
   one file or in shards.
3. No weight is random in silence: what is missing is an error, unless it belongs to a head that is to be trained.
"""

import json
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from platon_compress.errors import MISFITS, InputError, first_line, shown
from platon_compress.files import inner
from platon_compress.structure import find_blocks
from platon_compress.tasks.families import saved_as
from platon_compress.tasks.hub import is_fault_of_this_machine

if TYPE_CHECKING:
    from collections.abc import Set

__all__ = ["drawn_weights", "folded_weights", "head_parameters"]

# In the order in which transformers looks for them.
_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
# What plain_state_dict folds or refuses; a file without such names need not be read twice.
_SUSPECT = re.compile(
    r"^module\.|(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
    r"|_orig$|\.original$|mask_scores$|\.lora_|\.base_layer\."
)


def folded_weights(folder: Path) -> dict[str, Tensor] | None:
    """The plain state dict of the checkpoint in `folder`, or None where its files are plain already.

    Raises InputError for damaged files, adapters, and scores that were never applied.
    """
    from platon_compress.baking import plain_state_dict

    files = _weight_files(folder)
    if not any(_SUSPECT.search(key) for file in files for key in _keys(file)):
        return None
    state: dict[str, Tensor] = {}
    for file in files:
        state.update(_read(file))
    return plain_state_dict(state)


def drawn_weights(
    model: nn.Module, info: Mapping[str, Any], name: str, task: str, *, new_head: bool
) -> tuple[str, ...]:
    """Names of the weights that transformers drew at random: those of the task's head, with `new_head`, or none.

    Raises InputError where any other is missing. `info` is what `from_pretrained(output_loading_info=True)` says.
    """
    reshaped = [key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]]
    allowed = head_parameters(model) if new_head else frozenset()
    drawn = {*info["missing_keys"], *reshaped}
    lacking = sorted(drawn - allowed)
    if not lacking:
        return tuple(sorted(drawn))
    if set(lacking) <= set(reshaped):
        raise InputError(
            f"the checkpoint {name!r} holds {len(lacking)} weights of other shapes than its config.json says (first: "
            f"{lacking[0]}); they would be random: save model and config together again"
        )
    strange = sorted(info["unexpected_keys"])
    more = f", and holds {len(strange)} others (first: {strange[0]})" if strange else ""
    raise InputError(
        f"the checkpoint {name!r} lacks {len(lacking)} weights of a {task} model (first: {lacking[0]}){more}; "
        f"they would be random: {_cure(model, new_head)}"
    )


def head_parameters(model: nn.Module) -> "Set[str]":
    """Names of the parameters behind the encoder: those outside the base model, and the base model's pooler.

    Where a class keeps its encoder among its own modules, the head is what is registered behind the repeated blocks.
    """
    base: Any = getattr(model, getattr(model, "base_model_prefix", "") or "", None)
    if isinstance(base, nn.Module) and base is not model:
        pooler = getattr(base, "pooler", None)
        new = set(pooler.parameters()) if isinstance(pooler, nn.Module) else set()
        inside = {id(p) for p in base.parameters() if p not in new}
        return {name for name, p in model.named_parameters() if id(p) not in inside}
    tops = [path.split(".")[0] for path in find_blocks(model)]
    children = [name for name, _ in model.named_children()]
    behind = children[children.index(tops[-1]) + 1 :] if tops else []
    return {name for name, _ in model.named_parameters() if name.split(".")[0] in behind}


def _cure(model: nn.Module, new_head: bool) -> str:
    if new_head:
        return "give a checkpoint of this architecture that holds its whole encoder"
    saved = saved_as(getattr(model, "config", None))
    if saved not in ("", type(model).__name__):
        return (
            f"it was saved as {saved}, and this task loads a {type(model).__name__}; "
            "name the task it was trained for (--task, or model.task)"
        )
    return "save the whole model again, or name the task it was trained for (--task, or model.task)"


def _weight_files(folder: Path) -> list[Path]:
    found = next((folder / name for name in _FILES if (folder / name).is_file()), None)
    if found is None:
        return []
    if found.suffix != ".json":
        return [found]
    try:
        names = sorted(set(json.loads(found.read_text("utf-8"))["weight_map"].values()))
    except (OSError, *MISFITS, RecursionError) as error:
        raise InputError(
            f"{found} is no index of shards: {first_line(error)}; save the model again"
        ) from error
    return [_shard(folder, name) for name in names]


def _shard(folder: Path, name: Any) -> Path:
    file = inner(folder, name)
    if file is None:
        raise InputError(f"{folder} lacks the shard {shown(name)} that its index names; save the model again")
    return file


def _keys(file: Path) -> Iterable[str]:
    from safetensors import SafetensorError, safe_open

    if file.suffix != ".safetensors":
        return _read(file).keys()
    try:
        with safe_open(file, "pt") as tensors:
            return list(tensors.keys())
    except (SafetensorError, OSError) as error:
        raise _damaged(file, error) from error


def _read(file: Path) -> dict[str, Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        state = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{file} holds more than tensors, and nothing else is read from a checkpoint; save model.state_dict() alone"
        ) from error
    except (
        SafetensorError,
        EOFError,
        ValueError,
        OSError,
        RuntimeError,
    ) as error:  # torch's readers raise them all
        raise _damaged(file, error) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{file} holds no state dict; save model.state_dict() alone")
    return state


def _damaged(file: Path, error: Exception) -> Exception:
    if is_fault_of_this_machine(error):
        return error
    return InputError(f"{file} is no valid {file.suffix[1:]} file: {first_line(error)}; save it again")
