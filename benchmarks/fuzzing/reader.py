"""What a fuzz target of a reader is, and what several have in common."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from platon_compress.files import read_json

__all__ = ["Reader", "as_json", "compressed", "is_json"]


@dataclass(frozen=True)
class Reader:
    """seeds: good contents. first: raises what its first check does, or returns. read: does all that is done with the file.

    form: a key of `mutate.FORMS`. file: the name under which it is read. beside: writes what lies in the same folder.
    """

    name: str
    title: str
    form: str
    file: str
    seeds: Callable[[], tuple[bytes, ...]]
    first: Callable[[Path], object]
    read: Callable[[Path], object]
    beside: Callable[[Path], object] | None = None


def as_json(*contents: Any) -> tuple[bytes, ...]:
    """One content each."""
    return tuple(json.dumps(content).encode() for content in contents)


def is_json(path: Path) -> object:
    """The first check of whatever is a JSON file of ours."""
    return read_json(path, "give another")


@cache
def compressed() -> tuple[Any, Any, Any]:
    """A small BERT with zeros, its plan, and what it converts to."""
    import torch

    from platon_compress import PlanConfig, bake, convert, plan
    from platon_compress.planning import Form
    from platon_compress.selection import select
    from platon_compress.testing import tiny_transformer

    torch.manual_seed(1)
    model = tiny_transformer("bert")[0]
    masks = {name: torch.rand_like(weight) < 0.3 for name, weight in select(model).items()}
    baked = bake(model, masks)
    planned = plan(baked, PlanConfig(tokens=8, force=Form.CSR))
    return masks, planned, convert(baked, planned)
