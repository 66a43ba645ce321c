"""Opening a compressed model in ONNX Runtime: plain sessions with the operator library registered.

Needs numpy and onnxruntime, nothing else of this package's dependencies.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TYPE_CHECKING, Any

from platon_compress.errors import InputError, MissingExtraError, first_line
from platon_compress.library import library_path
from platon_compress.limits import LIMITS

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["library_path", "open_session", "session_options"]


def session_options(
    *, threads: int | None = None, stop_spinning: bool = False, pin_threads: bool = False
) -> "onnxruntime.SessionOptions":
    """A fresh SessionOptions with the operator library registered.

    `threads` is `intra_op_num_threads` (None: ONNX Runtime's default, the physical cores). `stop_spinning`: idle
    threads sleep as soon as a run ends, instead of burning a core for a while in case another run follows.
    `pin_threads`: each of the session's own threads stays on a core of its own, so that one that wakes up after a pause
    never waits for the core on which the caller runs; for one session that has the machine to itself.
    InputError when the library cannot be loaded, `threads` is out of range, or there are fewer cores than pinned threads.
    """
    options = _options(_onnxruntime().SessionOptions(), threads, stop_spinning, pin_threads)
    _register(options)
    return options


def open_session(
    path: str | os.PathLike[str],
    *,
    threads: int | None = None,
    providers: Sequence[Any] | None = None,
    use_library: bool = True,
    stop_spinning: bool = False,
    pin_threads: bool = False,
    options: "onnxruntime.SessionOptions | None" = None,
) -> "onnxruntime.InferenceSession":
    """A plain `onnxruntime.InferenceSession` on the model file at `path`.

    `providers` as ONNX Runtime takes them (None: the CPU). `use_library=False` leaves the operator library out:
    the file then runs through its own standard operators, at dense speed. `options`: SessionOptions of your own,
    on which the library is registered unless it is already; the settings of :func:`session_options` change them where given.
    InputError when the file is missing or ONNX Runtime refuses it.
    """
    ort = _onnxruntime()
    if not Path(path).is_file():
        raise InputError(f"there is no model file at {os.fspath(path)}; give the path of an .onnx file")
    options = _options(
        ort.SessionOptions() if options is None else options, threads, stop_spinning, pin_threads
    )
    if use_library:
        _register(options)
    chosen = list(providers) if providers is not None else ["CPUExecutionProvider"]
    try:
        with _in_utf8(path) as name:
            return ort.InferenceSession(name, options, providers=chosen)
    except Exception as error:  # ONNX Runtime's own classes share no base but Exception
        reason = " ".join(str(error).split())
        cure = "export it again with this version"
        if "bad_alloc" in reason:
            cure = (
                "it needs more memory than there is: the operator library needs the least (use_library=True)"
            )
        raise InputError(f"ONNX Runtime refused {os.fspath(path)}: {reason}; {cure}") from error


@contextmanager
def _in_utf8(path: str | os.PathLike[str]) -> Iterator[str]:
    """`path` in the encoding that ONNX Runtime takes names in; in a locale with another one by way of links."""
    whole = Path(path).absolute()
    if _is_utf8(os.fspath(whole)):
        yield os.fspath(path)
        return
    with TemporaryDirectory() as folder:
        beside = Path(folder) / "folder"
        beside.symlink_to(whole.parent, target_is_directory=True)
        link = beside / whole.name
        if not _is_utf8(whole.name):
            link = Path(folder) / "file"
            link.symlink_to(whole)
        yield str(link)


def _is_utf8(name: str) -> bool:
    try:
        return os.fsencode(name) == name.encode()
    except UnicodeEncodeError:  # bytes that the locale has no letters for
        return False


def _register(options: "onnxruntime.SessionOptions") -> None:
    """The library itself leaves options alone on which it is registered."""
    path = library_path()
    try:
        with _in_utf8(path) as name:
            options.register_custom_ops_library(name)
    except Exception as error:  # ONNX Runtime's own classes share no base but Exception
        raise InputError(
            f"ONNX Runtime cannot load the operator library {path}: {first_line(error)}; install platon-compress again "
            "for this system, or open the file with use_library=False"
        ) from error


def _options(
    options: "onnxruntime.SessionOptions", threads: int | None, stop_spinning: bool, pin_threads: bool
) -> "onnxruntime.SessionOptions":
    if threads is not None:
        options.intra_op_num_threads = LIMITS["plan.threads"].check("threads", threads)
    if stop_spinning:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    if pin_threads:
        _pin(options)
    return options


def _pin(options: "onnxruntime.SessionOptions") -> None:
    """The caller is one of the threads and is left where it is; ONNX Runtime counts cores from 1."""
    cores = (
        sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    )
    threads = options.intra_op_num_threads or len(cores)
    if threads > len(cores):
        raise InputError(
            f"{threads} threads cannot be pinned to {len(cores)} cores; give threads={len(cores)} or leave pin_threads out"
        )
    options.intra_op_num_threads = threads
    if threads > 1:
        own = ";".join(str(core + 1) for core in cores[1:threads])
        options.add_session_config_entry("session.intra_op_thread_affinities", own)


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "onnxruntime is not installed; run `pip install 'platon-compress[cpu]'` (or [gpu], never both)"
        ) from error
    return onnxruntime
