"""What makes an encoder faster on an accelerator: half of the heads and neurons, or two of four weights, in torch."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from parts.cells import Cell, Part, Setup, timed
from parts.pruner import device_unavailable
from parts.random_models import BERT_BASE, halved, random_inputs, random_model

__all__ = ["FORMS", "keep_two_of_four", "top_operators"]

_TOP = 6


def _cells(setup: Setup) -> tuple[Cell, ...]:
    """As torch runs it, then without the launches (CUDA graphs), which are most of a small batch's time."""
    batches = (2,) if setup.tiny else (8, 64, 1)
    tokens = 8 if setup.tiny else 128
    cells = [("float16", batch, False) for batch in batches]
    cells += [("float16", batch, True) for batch in batches if setup.device == "cuda"]
    return tuple(
        Cell(
            name=f"{kind}, {tokens} tokens x {batch}{', captured' * captured}",
            run=partial(_measure, setup, kind, batch, tokens, captured),
        )
        for kind, batch, captured in cells
    )


def keep_two_of_four(model: Any) -> None:
    """Zero, in place, the two smallest of every four consecutive inputs of each linear in the blocks."""
    import torch

    from platon_compress.selection import select

    with torch.no_grad():
        for weight in select(model).values():
            fours = weight.view(-1, 4)
            fours.scatter_(1, fours.abs().topk(2, dim=1, largest=False).indices, 0)


def top_operators(call: Callable[[], object], device: str) -> list[dict[str, Any]]:
    """The operators or device kernels that take most of one call, by name, longest first."""
    from torch.profiler import ProfilerActivity, profile

    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as found:
        call()
    time = f"self_{'device' if device == 'cuda' else 'cpu'}_time_total"
    rows = [
        {"name": row.key[:120], "calls": row.count, "us": getattr(row, time)} for row in found.key_averages()
    ]
    return sorted(rows, key=lambda row: -row["us"])[:_TOP]


def _models(setup: Setup, kind: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The sides that can be built here, and why the others cannot."""
    import torch

    dense = random_model(BERT_BASE, tiny=setup.tiny)
    masked = copy.deepcopy(dense)
    keep_two_of_four(masked)
    models = {"dense": dense, "structured": halved(copy.deepcopy(dense)).model, "2:4 zeros, dense": masked}
    models = {name: m.to(setup.device, getattr(torch, kind)).eval() for name, m in models.items()}
    try:
        return models | {"2:4": _semi_structured(models["2:4 zeros, dense"])}, {}
    except (RuntimeError, NotImplementedError, AssertionError) as error:
        return models, {"2:4": f"{type(error).__name__}: {str(error)[:200]}"}


def _semi_structured(masked: Any) -> Any:
    import torch
    from torch.sparse import to_sparse_semi_structured

    from platon_compress.selection import select

    model = copy.deepcopy(masked)
    with torch.inference_mode():
        for name in select(model):
            module = model.get_submodule(name.removesuffix(".weight"))
            module.weight = torch.nn.Parameter(to_sparse_semi_structured(module.weight), requires_grad=False)
    return model


def _measure(
    setup: Setup, kind: str, batch: int, tokens: int, captured: bool, seconds: float
) -> dict[str, Any]:
    import torch

    models, missing = _models(setup, kind)
    inputs = {"input_ids": random_inputs(models["dense"], batch, tokens)["input_ids"]}
    with torch.inference_mode():
        calls = {name: partial(_logits, model, inputs) for name, model in models.items()}
        content: dict[str, Any] = {
            "missing": missing,
            "tensors": _tensor_kinds(models),
            "difference": _difference(calls),
        }
        if captured:
            sides: Mapping[str, Any] = {name: _captured(call) for name, call in calls.items()}
        else:
            content["operators"] = {name: top_operators(call, setup.device) for name, call in calls.items()}
            sides = calls
        return content | timed(_waiting(sides, setup.device), seconds, "dense", pause_seconds=0.0)


def _logits(model: Any, inputs: Mapping[str, Any]) -> Any:
    return model(**inputs).logits


def _tensor_kinds(models: Mapping[str, Any]) -> dict[str, str]:
    """The class of a block's weight, which says which library multiplies it."""
    from platon_compress.selection import select

    return {name: type(next(iter(select(model).values()))).__name__ for name, model in models.items()}


def _difference(calls: Mapping[str, Callable[[], Any]]) -> float | None:
    """Largest difference between 2:4 in its own kernels and the same zeros in dense ones."""
    if "2:4" not in calls:
        return None
    ours, theirs = calls["2:4"](), calls["2:4 zeros, dense"]()
    return float((ours.float() - theirs.float()).abs().max())


def _waiting(sides: Mapping[str, Callable[[], Any]], device: str) -> dict[str, Callable[[], Any]]:
    import torch

    wait = torch.cuda.synchronize if device == "cuda" else (lambda: None)

    def finished(call: Callable[[], Any]) -> None:
        call()
        wait()

    return {name: partial(finished, call) for name, call in sides.items()}


def _captured(call: Callable[[], Any]) -> Callable[[], Any]:
    """A CUDA graph of `call`."""
    import torch

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


FORMS = Part(
    name="forms",
    title="BERT-base in torch: dense, half the heads and neurons, 2:4",
    share=1.0,
    cells=_cells,
    unavailable=device_unavailable,
)
