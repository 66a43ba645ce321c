"""One graph for every input: two blocks of a model are exported and compared, before anything is trained.

Rules:

1. The model answers twice the same to the same input.
2. PyTorch's exporter writes it, and stock ONNX Runtime opens what was written.
3. Traced on one batch, the graph gives the model's answers for other batches and lengths: models that cut, pool or sort
   a sequence by its length, or pick layers by a row, do not.

Blocks repeat each other, so two of them show all of this in a fraction of the time.
"""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from platon_compress.errors import CheckFailedError, InputError, first_line
from platon_compress.export.config import ExportConfig
from platon_compress.export.outputs import Batch, Outputs, differences
from platon_compress.structure import find_blocks
from platon_compress.tasks.checkpoint import Checkpoint
from platon_compress.tasks.dimensions import positions
from platon_compress.tasks.preflight import run_once
from platon_compress.tasks.synthetic import example_inputs, synthetic_batches

if TYPE_CHECKING:
    from torch import nn

__all__ = ["check_export"]

_BLOCKS = 2
_EXAMPLES = 3
_LENGTHS = (13, 160)
# Of the largest answer. A graph of another model is off by its own size, float32 by a millionth.
_TOLERANCE = 1e-3
_CURE = "take a BERT-like encoder (BERT, RoBERTa, DeBERTa, ELECTRA, ModernBERT, ViT, ...)"
_DYNAMO = "set export.exporter (--exporter of compress) to dynamo, or "


def check_export(checkpoint: Checkpoint, config: ExportConfig) -> None:
    """Raise InputError where no fixed graph gives the answers of the model; the checkpoint is left as it was."""
    model, batches = checkpoint.model, _batches(checkpoint)
    with _two_blocks(checkpoint, batches[0]):
        wanted = [_answers(checkpoint, batch) for batch in batches]
        _check_repeatable(checkpoint, batches[0], wanted[0])
        with tempfile.TemporaryDirectory() as folder:
            got = _exported_answers(checkpoint, config, Path(folder), batches)
    for batch, ours, theirs in zip(batches, got, wanted, strict=True):
        gap = differences([theirs], [ours], [batch])["max_abs"]
        if gap > _TOLERANCE * max(float(np.abs(value).max()) for value in theirs.values()):
            raise _another_model(model, batch, f"an answer is off by {gap:.2g}")


def _batches(checkpoint: Checkpoint) -> list[Batch]:
    """Batches that differ in size, and texts in length too, from the one that is traced."""
    limit = positions(checkpoint.model) if checkpoint.modality == "text" else None
    lengths = sorted({min(tokens, limit or tokens) for tokens in _LENGTHS})
    made: list[Batch] = [
        synthetic_batches(checkpoint, examples=_EXAMPLES, tokens=tokens, seed=tokens)[0] for tokens in lengths
    ]
    return made if checkpoint.modality == "text" else made[:1]


@contextlib.contextmanager
def _two_blocks(checkpoint: Checkpoint, batch: Batch) -> Iterator[None]:
    """The model with the first blocks of every list, where it runs so; whole again afterwards."""
    whole = _shorten(checkpoint.model)
    try:
        if whole and not _runs(checkpoint, batch):
            _restore(whole)
        yield
    finally:
        _restore(whole)


def _shorten(model: "nn.Module") -> "list[tuple[nn.Module, dict[str, nn.Module | None]]]":
    """Take blocks out; each list with all that it held."""
    paths = sorted({block.rpartition(".")[0] for block in find_blocks(model)})
    whole = [(parent, dict(parent._modules)) for parent in map(model.get_submodule, paths)]
    for parent, children in whole:
        for name in list(children)[_BLOCKS:]:
            del parent._modules[name]
    return whole


def _restore(whole: "Sequence[tuple[nn.Module, Mapping[str, nn.Module | None]]]") -> None:
    for parent, children in whole:
        parent._modules.update(children)


def _runs(checkpoint: Checkpoint, batch: Batch) -> bool:
    try:
        _answers(checkpoint, batch)
    except InputError:
        return False
    return True


def _answers(checkpoint: Checkpoint, batch: Batch) -> Outputs:
    """Every tensor that the model returns."""
    import torch

    outputs = run_once(checkpoint, {name: torch.from_numpy(array) for name, array in batch.items()})
    return {name: value.numpy() for name, value in outputs.items() if isinstance(value, torch.Tensor)}


def _check_repeatable(checkpoint: Checkpoint, batch: Batch, first: Outputs) -> None:
    again = _answers(checkpoint, batch)
    if any(not np.array_equal(again[name], value, equal_nan=True) for name, value in first.items()):
        raise InputError(
            f"{type(checkpoint.model).__name__} gives two answers to one input, so it draws at random as it runs; {_CURE}"
        )


def _exported_answers(
    checkpoint: Checkpoint, config: ExportConfig, folder: Path, batches: Sequence[Batch]
) -> list[Outputs]:
    from platon_compress.export import export_onnx

    model, path = checkpoint.model, folder / "trial.onnx"
    try:
        export_onnx(model, path, example_inputs(checkpoint), config)
    except CheckFailedError as error:
        reason = str(error).rpartition("; ")[0]
        other = _DYNAMO if config.exporter != "dynamo" else ""
        raise InputError(f"{reason}; {other}{_CURE}") from error
    return _quiet_answers(model, path, batches)


def _quiet_answers(model: "nn.Module", path: Path, batches: Sequence[Batch]) -> list[Outputs]:
    """What stock ONNX Runtime answers; what it has against the file is said once, in the refusal."""
    import onnxruntime

    from platon_compress.export import open_session

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    answers: list[Outputs] = []
    for batch in batches:
        try:
            session = open_session(path, threads=1, use_library=False, options=options)
            needed = {value.name: batch[value.name] for value in session.get_inputs()}
            names = [value.name for value in session.get_outputs()]
            answers.append(dict(zip(names, session.run(None, needed), strict=True)))
        except Exception as error:  # ONNX Runtime's own classes share no base but Exception
            raise _another_model(model, batch, first_line(error).replace(f"{path}", path.name)) from error
    return answers


def _another_model(model: "nn.Module", batch: Batch, what: str) -> InputError:
    shown = ", ".join(f"{name} {list(array.shape)}" for name, array in batch.items())
    return InputError(f"one fixed graph is not {type(model).__name__}: for {shown} {what}; {_CURE}")
