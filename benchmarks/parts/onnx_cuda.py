"""ONNX Runtime on an accelerator: dense against half of the heads and neurons."""

from functools import partial
from typing import Any

from parts.cells import Cell, Part, Setup, timed
from parts.random_models import BERT_BASE, model_file

from platon_compress.measure.sessions import describe_inputs, make_inputs, open_on

__all__ = ["ONNX_CUDA"]


def _cells(setup: Setup) -> tuple[Cell, ...]:
    sizes = ((8, 2),) if setup.tiny else ((128, 8), (128, 1), (128, 64))
    return tuple(
        Cell(name=f"{tokens} tokens x {batch}", run=partial(_measure, setup, batch, tokens))
        for tokens, batch in sizes
    )


def _unavailable(setup: Setup) -> str | None:
    import onnxruntime

    if setup.device == "cuda" and "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "the installed ONNX Runtime has no CUDA provider"
    return None


def _measure(setup: Setup, batch: int, tokens: int, seconds: float) -> dict[str, Any]:
    sides = {}
    for name in ("dense", "structured"):
        path = model_file(BERT_BASE, setup.models, name, tiny=setup.tiny)
        session = open_on(path, device=setup.device)
        sides[name] = partial(
            session.run, None, make_inputs(describe_inputs(session), batch=batch, tokens=tokens)
        )
    return {"batch": batch, "tokens": tokens} | timed(sides, seconds, "dense")


ONNX_CUDA = Part(
    name="onnx-cuda",
    title="BERT-base in ONNX Runtime, CUDA: dense, half the heads and neurons",
    share=0.5,
    cells=_cells,
    unavailable=_unavailable,
)
