"""The cheap alternative every user has: ONNX Runtime's dynamic int8 quantisation of the dense file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

from platon_compress.errors import InputError, MissingExtraError
from platon_compress.files import new_file

__all__ = ["quantize_int8"]


def quantize_int8(dense_onnx: str | Path, path: str | Path, *, reduce_range: bool | None = None) -> Path:
    """Write a dynamically quantised copy (signed 8-bit weights) of `dense_onnx` to `path` and return `path`.

    reduce_range: 7-bit weights; None: where the processor has no VNNI instructions, whose predecessors
    saturate 16-bit sums and cost accuracy with full 8-bit weights (ONNX Runtime's own advice).
    Raises InputError when the file is missing, MissingExtraError without onnxruntime.
    """
    source, target = Path(dense_onnx), Path(path)
    if not source.is_file():
        raise InputError(f"there is no model file at {source}; export the dense model first")
    try:
        from onnxruntime.quantization import QuantType, quantize_dynamic
        from onnxruntime.quantization.registry import IntegerOpsRegistry
    except ImportError as error:
        raise MissingExtraError(
            "onnxruntime is not installed; run `pip install 'platon-compress[cpu]'`"
        ) from error
    reduce = not _has_vnni() if reduce_range is None else reduce_range
    with new_file(target) as temporary, _quiet():
        quantize_dynamic(
            source,
            temporary,
            # ONNX Runtime 1.32 takes the standard Attention for its own of that name and breaks the graph.
            op_types_to_quantize=[name for name in IntegerOpsRegistry if name != "Attention"],
            weight_type=QuantType.QInt8,
            reduce_range=reduce,
        )
    return target


def _has_vnni() -> bool:
    """Whether the processor multiplies bytes without saturating (Linux; elsewhere the safe answer, no)."""
    try:
        return "vnni" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser logs advice through the root logger and prints; its errors still arrive."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
