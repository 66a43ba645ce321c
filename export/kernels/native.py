"""The kernels without ONNX Runtime, through the library's plain C entry points (tests, benchmarks, calibration)."""

import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Collection, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from platon_compress.errors import InputError
from platon_compress.library import declare, kernel_names, load_library

__all__ = ["NativeLinear", "NativePool", "attend", "burn", "pack_rows"]

_ERROR_BYTES = 512
_MOST_THREADS = 1024
_POINTER, _LONG, _TEXT = ctypes.c_void_p, ctypes.c_int64, ctypes.c_char_p
_INT, _SIZE = ctypes.c_int, ctypes.c_size_t
_ARRAY = (_POINTER, _LONG)
_ERROR = (_TEXT, _SIZE)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "platon_layer_create_for": (_POINTER, [_POINTER, _POINTER, _INT, _INT, *_ERROR]),
    "platon_linear_chunks": (_LONG, [_POINTER]),
    "platon_linear_destroy": (None, [_POINTER]),
    "platon_linear_packed_bytes": (_LONG, [_POINTER]),
    "platon_pool_create": (_POINTER, []),
    "platon_pool_work": (None, [_POINTER]),
    "platon_pool_stop": (None, [_POINTER]),
    "platon_pool_destroy": (None, [_POINTER]),
    "platon_pool_time": (_POINTER, [_POINTER, _POINTER, _LONG]),
    "platon_pool_timed": (_LONG, [_POINTER, _POINTER]),
    "platon_linear_run": (_INT, [_POINTER, _TEXT, _POINTER, _POINTER, *_ERROR]),
    "platon_pack_rows": (_INT, [_TEXT, *_ARRAY, _LONG, _POINTER, _POINTER, *_ERROR]),
    "platon_attend_heads": (_INT, [_TEXT, _POINTER, _POINTER, *_ERROR]),
    "platon_burn": (_INT, [_TEXT, _INT, _LONG, _INT, _POINTER]),
}


class _Weights(ctypes.Structure):
    """PlatonWeights of csrc/c_abi.h."""

    _fields_ = (
        *(("values", _POINTER), ("value_count", _LONG), ("value_bytes", _INT)),
        *(("columns", _POINTER), ("column_count", _LONG), ("column_bytes", _INT)),
        *(("row_starts", _POINTER), ("row_start_count", _LONG)),
        *(("row_scales", _POINTER), ("row_scale_count", _LONG)),
        *((name, _LONG) for name in ("in_features", "out_features")),
    )


class _Spec(ctypes.Structure):
    """PlatonSpec of csrc/c_abi.h."""

    _fields_ = (
        *((name, _POINTER) for name in ("bias", "scale", "shift")),
        *((f"{name}_length", _LONG) for name in ("bias", "scale", "shift")),
        ("activation", _TEXT),
        *((f"{side}_panels", _INT) for side in ("input", "output", "residual", "sum")),
        ("epsilon", ctypes.c_float),
    )


class _Data(ctypes.Structure):
    """PlatonData of csrc/c_abi.h."""

    _fields_ = (
        ("x", _POINTER),
        ("rows", _LONG),
        ("out", _POINTER),
        ("residual", _POINTER),
        ("sum", _POINTER),
    )


class _Attention(ctypes.Structure):
    """PlatonAttention of csrc/c_abi.h."""

    _fields_ = (
        *((name, _POINTER) for name in ("q", "k", "v")),
        *((f"{name}_features", _LONG) for name in ("q", "k", "v")),
        *((f"{name}_first", _LONG) for name in ("q", "k", "v")),
        *((name, _LONG) for name in ("size", "value_size", "heads")),
        ("scale", ctypes.c_float),
        *((f"{side}_panels", _INT) for side in ("input", "output")),
        ("lengths", _POINTER),
        ("length_count", _LONG),
        ("mask", _POINTER),
        ("mask_strides", _LONG * 4),
        ("out", _POINTER),
        ("bytes", _INT),
    )


@cache
def _library() -> ctypes.CDLL:
    library = load_library()
    declare(library, _SIGNATURES)
    return library


class NativePool:
    """A fixed set of threads for :meth:`NativeLinear.run`; one caller at a time.

    The caller is one of them, so `threads - 1` are started. InputError when there are none, or more than can be.
    """

    def __init__(self, threads: int) -> None:
        if not 1 <= threads <= _MOST_THREADS:
            raise InputError(
                f"threads must be >= 1 and at most {_MOST_THREADS}, got {threads}; 1 runs in the calling thread"
            )
        self.threads = threads
        self._handle: int = _library().platon_pool_create()
        workers: list[threading.Thread] = []
        self._end = weakref.finalize(self, _end_pool, self._handle, workers, os.getpid())
        try:
            for _ in range(threads - 1):
                worker = threading.Thread(
                    target=_library().platon_pool_work, args=(self._handle,), daemon=True
                )
                worker.start()
                workers.append(worker)
        except RuntimeError as error:  # the system gives no more threads
            self.close()
            raise InputError(f"threads is {threads}, and {error}; take fewer") from error

    @property
    def handle(self) -> int:
        """For the library. InputError when the pool is closed."""
        if not self._end.alive:
            raise InputError("the pool is closed; make a new one")
        return self._handle

    def item_seconds(self, work: Callable[[], object], most: int = 4096) -> list[float]:
        """Times of the work items of `work`, which runs one layer or one attention on this pool, by the caller alone.

        First what came before the items, then each of them in its order. InputError for more than `most`.
        """
        seconds = np.zeros(most + 1)
        watch = _library().platon_pool_time(self.handle, seconds.ctypes.data, seconds.size)
        try:
            work()
        finally:
            count = int(_library().platon_pool_timed(self.handle, watch))
        if count > seconds.size:
            raise InputError(f"there are {count - 1} items, more than most = {most}; raise it")
        return [float(value) for value in seconds[:count]]

    def close(self) -> None:
        """Ends the threads; more than once is harmless."""
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _end_pool(handle: int, workers: Sequence[threading.Thread], process: int) -> None:
    """Of a pool that no loop runs in. A forked child has none of its threads, and leaves it alone."""
    if process != os.getpid():
        return
    _library().platon_pool_stop(handle)
    for worker in workers:
        worker.join()
    _library().platon_pool_destroy(handle)


def burn(kernel: str, kind: Literal["fma", "load"], rounds: int, pool: NativePool) -> int:
    """Does nothing useful at full speed on every thread of the pool; the work done.

    Floating-point operations on registers ("fma") or bytes read from the first-level cache ("load"), all threads
    together. InputError when there are no such kernels here.
    """
    per_round = _library().platon_burn(
        kernel.encode(), int(kind == "load"), rounds, pool.threads, pool.handle
    )
    if not per_round:
        raise InputError(
            f"no kernels {kernel!r} on this processor; choose one of {', '.join(kernel_names())}"
        )
    return int(per_round) * rounds * pool.threads


def pack_rows(x: npt.NDArray[np.float32], pool: NativePool, *, kernel: str) -> npt.NDArray[np.float32]:
    """`x` [rows, features] feature-major in panels, as several layers may share it; shape and size stay."""
    source = np.ascontiguousarray(x, np.float32)
    out = np.empty_like(source)
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    done = _library().platon_pack_rows(
        kernel.encode(), source.ctypes.data, source.shape[0], source.shape[1], out.ctypes.data, pool.handle,
        error, _ERROR_BYTES,
    )  # fmt: skip
    if not done:
        raise InputError(error.value.decode())
    return out


def attend(
    q: npt.NDArray[np.float32],
    k: npt.NDArray[np.float32],
    v: npt.NDArray[np.float32],
    pool: NativePool,
    *,
    kernel: str,
    heads: int,
    scale: float,
    lengths: Sequence[int],
    mask: npt.NDArray[np.float32] | None = None,
    panels: Collection[str] = (),
    out: npt.NDArray[np.float32] | None = None,
    products: str = "float32",
) -> npt.NDArray[np.float32]:
    """Softmax attention within each of the sequences that lie one behind the other: [rows, heads * value_size].

    q and k [rows, heads * size], v [rows, heads * value_size]. `mask` [sequences, heads, queries, keys], each 1
    or full, is added to the scores (sequences of one length then). `panels` names the sides ("input", "output") in
    :func:`pack_rows`'s layout. `products`: "float32", or "int8" for those of 8-bit numbers.
    """
    if heads < 1 or q.shape[1] % heads or v.shape[1] % heads:
        raise InputError(
            f"heads must be >= 1 and divide {q.shape[1]} and {v.shape[1]} features, got {heads}; "
            "pass the model's number of heads"
        )
    rows = sum(lengths)
    shape = (rows, v.shape[1])
    out = np.empty(shape, np.float32) if out is None else out
    for name, array, features in (("q", q, k.shape[1]), ("k", k, q.shape[1]), ("v", v, v.shape[1])):
        _require(array, name, (rows, features))
    _require(out, "out", shape)
    counts = np.array(lengths, np.int64)
    call = _Attention(
        q=q.ctypes.data, k=k.ctypes.data, v=v.ctypes.data, q_features=q.shape[1], k_features=k.shape[1],
        v_features=v.shape[1], size=q.shape[1] // heads, value_size=v.shape[1] // heads, heads=heads, scale=scale,
        lengths=counts.ctypes.data, length_count=len(counts), out=out.ctypes.data,
        bytes=products == "int8",
    )  # fmt: skip
    for side in panels:
        setattr(call, f"{side}_panels", 1)
    if mask is not None:
        _check_mask(mask, heads, lengths)
        call.mask = mask.ctypes.data
        for axis, size in enumerate(mask.shape):
            call.mask_strides[axis] = 0 if size == 1 else mask.strides[axis] // mask.itemsize
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    if not _library().platon_attend_heads(
        kernel.encode(), ctypes.byref(call), pool.handle, error, _ERROR_BYTES
    ):
        raise InputError(error.value.decode())
    return out


class NativeLinear:
    """One packed layer: `norm(activation(x W^T + bias) + residual)`, W [out_features, in_features] as CSR arrays.

    values: float32, or int8 within -63 to 63 with `row_scales` (float32 [out_features]): x is then rounded to 8 bits with
    a scale and a zero point for each row, and W is values * row_scales (docs/operator.md has the formulas).
    scale, shift: float32 [out_features] of a layer norm with `epsilon`; both or none. `panels` names the sides
    ("input", "output", "residual", "sum") whose activations lie as :func:`pack_rows` lays them, under the same
    shape. cut: as for a machine of so many cores, into chunks of at least so many rows; 0: as for a session here.
    The arrays are copied. InputError, with the library's own line, when they are inconsistent.
    """

    def __init__(
        self,
        values: npt.NDArray[np.float32] | npt.NDArray[np.int8],
        columns: npt.NDArray[Any],
        row_starts: npt.NDArray[np.int32],
        *,
        in_features: int,
        out_features: int,
        row_scales: npt.NDArray[np.float32] | None = None,
        bias: npt.NDArray[np.float32] | None = None,
        activation: str = "",
        scale: npt.NDArray[np.float32] | None = None,
        shift: npt.NDArray[np.float32] | None = None,
        epsilon: float = 0.0,
        panels: Collection[str] = (),
        cut: tuple[int, int] = (0, 0),
    ) -> None:
        if columns.dtype not in (np.uint16, np.int32):
            raise InputError(f"columns must be uint16 or int32, got {columns.dtype}; convert them")
        if row_scales is not None and values.dtype != np.int8:
            raise InputError(
                f"values must be int8 where there are row_scales, got {values.dtype}; round them to -63..63"
            )
        arrays = {
            "value": np.ascontiguousarray(values, np.float32 if row_scales is None else np.int8),
            "column": np.ascontiguousarray(columns),
            "row_start": np.ascontiguousarray(row_starts, np.int32),
            "row_scale": np.ascontiguousarray([] if row_scales is None else row_scales, np.float32),
        }
        weights = _Weights(in_features=in_features, out_features=out_features)
        for name, array in arrays.items():
            setattr(weights, f"{name}s", array.ctypes.data)
            setattr(weights, f"{name}_count", array.size)
        weights.value_bytes, weights.column_bytes = arrays["value"].itemsize, columns.dtype.itemsize
        spec = _Spec(activation=activation.encode(), epsilon=epsilon)
        vectors = {"bias": bias, "scale": scale, "shift": shift}
        held = {name: np.ascontiguousarray(v, np.float32) for name, v in vectors.items() if v is not None}
        for name, vector in held.items():
            setattr(spec, name, vector.ctypes.data)
            setattr(spec, f"{name}_length", vector.size)
        for side in panels:
            setattr(spec, f"{side}_panels", 1)
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        self.in_features, self.out_features = in_features, out_features
        self._handle: int | None = _library().platon_layer_create_for(
            ctypes.byref(weights), ctypes.byref(spec), *cut, error, _ERROR_BYTES
        )
        if not self._handle:
            raise InputError(error.value.decode())

    @property
    def packed_bytes(self) -> int:
        """Memory of the packed weights."""
        return int(_library().platon_linear_packed_bytes(self._open()))

    @property
    def chunks(self) -> int:
        """Into how many parts its features are cut; a work item is one of them times one panel of tokens."""
        return int(_library().platon_linear_chunks(self._open()))

    def run(
        self,
        x: npt.NDArray[np.float32],
        pool: NativePool,
        *,
        kernel: str,
        out: npt.NDArray[np.float32] | None = None,
        residual: npt.NDArray[np.float32] | None = None,
        sums: npt.NDArray[np.float32] | None = None,
    ) -> npt.NDArray[np.float32]:
        """`x` [rows, in_features] float32, C order -> [rows, out_features], written into `out` if given.

        `residual` [rows, out_features] is added before the norm; `sums`, of the same shape, gets what went in.
        """
        shape = (x.shape[0], self.out_features)
        _require(x, "x", (x.shape[0], self.in_features))
        out = np.empty(shape, np.float32) if out is None else out
        given = {"out": out, "residual": residual, "sum": sums}
        for name, array in given.items():
            if array is not None:
                _require(array, name, shape)
        data = _Data(x=x.ctypes.data, rows=x.shape[0])
        for name, array in given.items():
            setattr(data, name, None if array is None else array.ctypes.data)
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        done = _library().platon_linear_run(
            self._open(), kernel.encode(), ctypes.byref(data), pool.handle, error, _ERROR_BYTES
        )
        if not done:
            raise InputError(error.value.decode())
        return out

    def _open(self) -> int:
        if not self._handle:
            raise InputError("the layer is closed; make a new one")
        return self._handle

    def close(self) -> None:
        """Frees the packed weights; more than once is harmless."""
        if self._handle:
            _library().platon_linear_destroy(self._handle)
            self._handle = None

    def __del__(self) -> None:
        if getattr(self, "_handle", None):
            self.close()


def _check_mask(mask: npt.NDArray[np.float32], heads: int, lengths: Sequence[int]) -> None:
    if len(set(lengths)) != 1:
        raise InputError(
            f"a mask needs sequences of one length, got {list(lengths)}; leave it out, lengths hide padding"
        )
    full = (len(lengths), heads, lengths[0], lengths[0])
    if mask.ndim != 4 or any(size not in (1, whole) for size, whole in zip(mask.shape, full, strict=True)):
        raise InputError(
            f"mask must have the shape {full} with any dimension 1, got {mask.shape}; reshape it"
        )
    _require(mask, "mask", mask.shape)


def _require(array: npt.NDArray[np.float32], name: str, shape: tuple[int, ...]) -> None:
    if array.shape != shape or array.dtype != np.float32 or not array.flags.c_contiguous:
        raise InputError(
            f"{name} must be float32 {shape} in C order, got {array.dtype} {array.shape}; convert it"
        )
