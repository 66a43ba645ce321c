"""The operator library: where it lies, and which kernels it has and takes on this machine.

Needs nothing but Python. What it computes is reached by ONNX Runtime, or by `platon_compress.export.kernels.native`.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError

__all__ = [
    "declare",
    "kernel_names",
    "kernel_seconds",
    "kernel_supported",
    "library_path",
    "load_library",
    "preferred_kernel",
    "selected_kernel",
    "supported_kernels",
    "taking_kernels",
]

_NAMES = {"win32": "platon_ops.dll", "darwin": "libplaton_ops.dylib"}
_CURE = "run `pip install .` again"
_ERROR_BYTES = 512
_FORCED = "PLATON_FORCE_ISA"
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "platon_kernel_names": (ctypes.c_char_p, []),
    "platon_kernel_supported": (ctypes.c_int, [ctypes.c_char_p]),
    "platon_selected_kernel": (ctypes.c_char_p, [ctypes.c_char_p, ctypes.c_size_t]),
    "platon_kernel_seconds": (
        ctypes.c_int,
        [ctypes.POINTER(ctypes.c_char_p), ctypes.POINTER(ctypes.c_double), ctypes.c_int],
    ),
    "platon_preferred_kernel": (ctypes.c_int, [ctypes.POINTER(ctypes.c_double), ctypes.c_int]),
}


def library_path() -> Path:
    """The shared library that holds the `platon` operators.

    Every ONNX Runtime binding loads it by path (`RegisterCustomOpsLibrary` and its like). InputError when this
    installation was made without it.
    """
    path = _folder() / _NAMES.get(sys.platform, "libplaton_ops.so")
    if not path.is_file():
        raise InputError(f"the operator library is not built, {path} is missing; {_CURE}")
    return path


@cache
def load_library() -> ctypes.CDLL:
    """The library for calls of its plain C functions. InputError when it is missing or cannot be loaded here."""
    path = library_path()
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:  # built for another system, cut short, no permission
        raise InputError(f"the operator library cannot be loaded: {error}; {_CURE}") from error
    declare(library, _SIGNATURES)
    return library


def declare(library: ctypes.CDLL, signatures: Mapping[str, tuple[Any, Sequence[Any]]]) -> None:
    """Gives functions their (result, arguments). InputError when the library lacks one."""
    for name, (result, arguments) in signatures.items():
        try:
            function: Any = getattr(library, name)
        except AttributeError as error:
            raise InputError(f"the operator library is of another version: {error}; {_CURE}") from error
        function.restype, function.argtypes = result, arguments


def kernel_names() -> tuple[str, ...]:
    """The compiled kernel sets, slowest first: the one list that dispatch, tests and benchmarks share."""
    return tuple(load_library().platon_kernel_names().decode().split(","))


def kernel_supported(name: str) -> bool:
    """Whether this processor can run the kernel set."""
    return bool(load_library().platon_kernel_supported(name.encode()))


def supported_kernels() -> tuple[str, ...]:
    """Those of :func:`kernel_names` that this processor can run."""
    return tuple(name for name in kernel_names() if kernel_supported(name))


def kernel_seconds() -> dict[str, float]:
    """What a small product takes with each set that a session chooses among, in seconds.

    In the order of :func:`kernel_names`; the plain loops are there only where nothing else is.
    """
    room = len(kernel_names())
    names, seconds = (ctypes.c_char_p * room)(), (ctypes.c_double * room)()
    count = load_library().platon_kernel_seconds(names, seconds, room)
    return {(names[i] or b"").decode(): seconds[i] for i in range(count)}


def preferred_kernel(seconds: Sequence[float]) -> int:
    """Which of such times a session takes the set of: the last, unless an earlier one is clearly shorter."""
    return int(
        load_library().platon_preferred_kernel((ctypes.c_double * len(seconds))(*seconds), len(seconds))
    )


def selected_kernel() -> str:
    """The set that a new session takes here, `PLATON_FORCE_ISA` respected; InputError when that is wrong."""
    error = ctypes.create_string_buffer(_ERROR_BYTES)
    name = load_library().platon_selected_kernel(error, _ERROR_BYTES).decode()
    if not name:
        raise InputError(error.value.decode())
    return str(name)


@contextmanager
def taking_kernels(name: str) -> Iterator[None]:
    """Sessions made inside take the kernel set `name`; the environment variable that says so is put back."""
    before = os.environ.get(_FORCED)
    os.environ[_FORCED] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[_FORCED]
        else:
            os.environ[_FORCED] = before


def _folder() -> Path:
    """`platon_compress/export/kernels` as it is installed; in a checkout it lies beside the package's folder."""
    spec = find_spec("platon_compress.export")
    places = spec.submodule_search_locations if spec else None
    return Path(next(iter(places))) / "kernels" if places else Path(__file__).parent / "export" / "kernels"
