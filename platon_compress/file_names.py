"""What transformers calls a model's tensors in files: the same in all of its versions, unlike its modules."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from platon_compress.errors import InputError, first_line

__all__ = ["names_in_files", "names_in_model", "without_advice"]


def names_in_files(model: nn.Module, folder: Path | None = None) -> dict[str, str]:
    """The name of every stored tensor of ``model``'s state, and that in files, which transformers keeps stable.

    transformers 5 renames modules and knows the way back, so it is asked to save a one-number tensor in place of
    each. Where it would also join tensors, they keep their own names, which other major versions refuse to read.
    ``folder`` receives config.json.
    """
    from safetensors.torch import load_file

    order, markers = _markers(model)
    with tempfile.TemporaryDirectory() as scratch, without_advice():
        place = folder or Path(scratch)
        try:
            model.save_pretrained(place, state_dict=dict(markers))  # type: ignore[operator]
        except (RuntimeError, ValueError, TypeError) as error:
            raise InputError(
                f"transformers cannot save {type(model).__name__}: {first_line(error)}; keep its state_dict instead"
            ) from error
        path = place / "model.safetensors"
        found = load_file(path)
        path.unlink()
    if all(marker.numel() == 1 for marker in found.values()):
        return {order[int(marker)]: name for name, marker in found.items()}
    return {order[int(marker)]: name for name, marker in markers.items() if order[int(marker)] == name}


def names_in_model(model: nn.Module, stored: Iterable[str]) -> dict[str, str]:
    """The tensors' names in ``model`` by their names in a file; transformers 4.57 uses the same."""
    names = set(stored)
    if model.state_dict().keys() >= names:
        return {name: name for name in names}
    return {file: own for own, file in names_in_files(model).items()}


def _markers(model: nn.Module) -> tuple[list[str], dict[str, Tensor]]:
    """Names of the tensors of the state, tied ones once; by every name, a tensor that holds its place there."""
    places: dict[tuple[Any, ...], Tensor] = {}
    order: list[str] = []
    markers: dict[str, Tensor] = {}
    for name, tensor in model.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else (name,)
        if key not in places:
            places[key] = torch.tensor([len(order)], dtype=torch.float64)
            order.append(name)
        markers[name] = places[key]
    return order, markers


@contextmanager
def without_advice() -> Iterator[None]:
    """Without transformers' progress bars and advice."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
