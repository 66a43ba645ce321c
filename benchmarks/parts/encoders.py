"""Whole encoders in ONNX Runtime on the CPU: random masks against dense and dense int8, by threads."""

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from parts.cells import Cell, Part, Setup, timed
from parts.random_models import BERT_BASE, VIT_B16, Shape, model_file

from platon_compress.library import supported_kernels, taking_kernels
from platon_compress.measure.environment import chosen_isa
from platon_compress.measure.sessions import describe_inputs, make_inputs, open_on

__all__ = ["BERT", "VIT"]

_FILES = ("dense", "90", "int8", "80", "95")


def _cells(shape: Shape, setup: Setup) -> tuple[Cell, ...]:
    """The files, one check of the numbers, then every input at every number of threads."""
    made = [Cell(name=f"file {name}", run=partial(_make, shape, setup, name)) for name in _files(setup)]
    measured = [
        Cell(
            name=f"{'image' if tokens is None else f'{tokens} tokens'} x {batch}, {threads} threads",
            run=partial(_measure, shape, setup, batch, tokens, threads),
        )
        for tokens, batch in shape.inputs
        for threads in setup.threads
    ]
    agreement = Cell(name="agreement", run=partial(_agreement, shape, setup))
    return (*made, agreement, *measured[:2], *_instruction_sets(shape, setup), *measured[2:])


def _instruction_sets(shape: Shape, setup: Setup) -> list[Cell]:
    """The two last kernel sets this processor has against each other, in the whole model."""
    names = supported_kernels()[-2:]
    if len(names) < 2:
        return []
    tokens, batch = shape.inputs[0]
    return [
        Cell(
            name=f"{' against '.join(names)}, {threads} threads",
            run=partial(_compare_sets, shape, setup, names, batch, tokens, threads),
        )
        for threads in setup.threads[:2]
    ]


def _files(setup: Setup) -> tuple[str, ...]:
    return _FILES[:3] if setup.tiny else _FILES


def _paths(shape: Shape, setup: Setup) -> dict[str, Path]:
    return {name: model_file(shape, setup.models, name, tiny=setup.tiny) for name in _files(setup)}


def _make(shape: Shape, setup: Setup, name: str, seconds: float) -> dict[str, Any]:
    del seconds
    started = time.perf_counter()
    path = model_file(shape, setup.models, name, tiny=setup.tiny)
    return {"bytes": path.stat().st_size, "seconds": time.perf_counter() - started}


def _feed(session: Any, batch: int, tokens: int | None) -> dict[str, np.ndarray]:
    inputs = describe_inputs(session)
    settings: Mapping[str, Any] = {"num_channels": 3, "image_size": _image_size(inputs)}
    return make_inputs(inputs, batch=batch, tokens=tokens, config=settings)


def _image_size(inputs: tuple[dict[str, Any], ...]) -> int:
    """Side of the images that the file takes; 224 where it leaves it open."""
    side = inputs[0]["shape"][-1]
    return side if isinstance(side, int) else 224


def _measure(
    shape: Shape, setup: Setup, batch: int, tokens: int | None, threads: int, seconds: float
) -> dict[str, Any]:
    sides = {}
    for name, path in _paths(shape, setup).items():
        session = open_on(path, threads=threads)
        sides[name] = partial(session.run, None, _feed(session, batch, tokens))
    setting = {"batch": batch, "tokens": tokens, "threads": threads, "isa": chosen_isa()}
    return setting | timed(sides, seconds, "dense")


def _compare_sets(
    shape: Shape,
    setup: Setup,
    names: Sequence[str],
    batch: int,
    tokens: int | None,
    threads: int,
    seconds: float,
) -> dict[str, Any]:
    """The 90 % file under each kernel set. A session keeps the set that was chosen when it was opened."""
    path, sides = model_file(shape, setup.models, "90", tiny=setup.tiny), {}
    for name in names:
        with taking_kernels(name):
            session = open_on(path, threads=threads)
        sides[name] = partial(session.run, None, _feed(session, batch, tokens))
    return {"batch": batch, "tokens": tokens, "threads": threads} | timed(sides, seconds, names[0])


def _agreement(shape: Shape, setup: Setup, seconds: float) -> dict[str, Any]:
    """Largest difference between our kernels and the same file in standard operators, and its size there."""
    from platon_compress.export.session import open_session

    del seconds
    found = {}
    for name, path in _paths(shape, setup).items():
        if name.isdigit():
            native, standard = (open_session(path, use_library=ours) for ours in (True, False))
            feed = _feed(native, 2, shape.inputs[0][0])
            ours, theirs = (session.run(None, feed)[0] for session in (native, standard))
            found[name] = {
                "max_difference": float(np.abs(ours - theirs).max()),
                "max_value": float(np.abs(theirs).max()),
            }
    return {"isa": chosen_isa(), "files": found}


BERT = Part(name="bert", title="BERT-base in ONNX Runtime, CPU", share=3.5, cells=partial(_cells, BERT_BASE))
VIT = Part(name="vit", title="ViT-B/16 in ONNX Runtime, CPU", share=1.5, cells=partial(_cells, VIT_B16))
