"""Sessions and inputs for measuring: equal threads, a provider that is really active, inputs from metadata."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from platon_compress.errors import InputError, PlatonError, first_line

__all__ = [
    "PROVIDERS",
    "DeviceUnavailableError",
    "caller_pinned",
    "describe_inputs",
    "has_token_axis",
    "make_inputs",
    "open_on",
    "pin_caller",
    "read_config",
    "run_once",
]

PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
}
_INTEGERS = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
_FLOATS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}
_DEFAULT_VOCABULARY = 100  # ids below this exist in every tokenizer; the time does not depend on them


class DeviceUnavailableError(PlatonError):
    """The asked-for device is not really active in ONNX Runtime; the message is the report's line."""


def open_on(
    path: str | Path, *, threads: int | None = None, device: str = "cpu", pin_threads: bool = False
) -> Any:
    """An `onnxruntime.InferenceSession` on `device`, with our operator library registered where it exists.

    `threads` and `pin_threads` as in :func:`platon_compress.export.session_options`.

    Raises DeviceUnavailableError when the session would fall back to another device, InputError when the
    file does not load.
    """
    import onnxruntime

    from platon_compress.export.session import open_session

    wanted = PROVIDERS[device]
    _require_device(onnxruntime, device, wanted[0])
    try:
        session = open_session(
            path, threads=threads, providers=list(wanted), stop_spinning=True, pin_threads=pin_threads
        )
    except PlatonError:
        raise
    except Exception as error:  # onnxruntime raises pybind classes without a common base
        raise InputError(
            f"{path} does not load in ONNX Runtime ({first_line(error)}); export it again"
        ) from error
    if wanted[0] not in session.get_providers():
        raise DeviceUnavailableError(_refusal(device, wanted[0], session.get_providers()))
    return session


def pin_caller() -> None:
    """Keep this thread on the first core that it may use: the one that sessions with pinned threads leave to it.

    Threads that it starts later stay there too, so sessions are opened before. Nothing where the system cannot do it.
    """
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


@contextmanager
def caller_pinned() -> Iterator[None]:
    """:func:`pin_caller` for a while."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    pin_caller()
    try:
        yield
    finally:
        if cores is not None:
            os.sched_setaffinity(0, cores)


def describe_inputs(session: Any) -> tuple[dict[str, Any], ...]:
    """`({"name", "type", "shape"}, ...)`; symbolic sizes are strings or None."""
    return tuple({"name": i.name, "type": i.type, "shape": list(i.shape)} for i in session.get_inputs())


def has_token_axis(inputs: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the number of tokens can be chosen: an integer input with a second axis of open size."""
    return any(_is_tokens(entry) and not isinstance(entry["shape"][1], int) for entry in inputs)


def make_inputs(
    inputs: Sequence[Mapping[str, Any]],
    *,
    batch: int,
    tokens: int | None,
    seed: int = 0,
    config: Mapping[str, Any] | None = None,
) -> dict[str, np.ndarray]:
    """One feed for :func:`describe_inputs`' result: random ids, full masks, standard normal pixels.

    `config` is the model's config.json, for the vocabulary and for image sizes that the file leaves open.
    Raises InputError for a size that the file does not take or an input that cannot be invented.
    """
    generator = np.random.default_rng(seed)
    settings = config or {}
    _require_positions(tokens, settings)
    return {entry["name"]: _one_input(entry, batch, tokens, generator, settings) for entry in inputs}


def read_config(folder: Path) -> dict[str, Any]:
    """config.json beside the model files; empty when there is none or it cannot be read."""
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def run_once(session: Any, feed: Mapping[str, np.ndarray], label: str) -> list[np.ndarray]:
    """`session.run`, with the file and setting in the error. Raises InputError."""
    try:
        return session.run(None, dict(feed))
    except Exception as error:  # as in open_on
        shapes = ", ".join(f"{name}{list(value.shape)}" for name, value in feed.items())
        raise InputError(
            f"{label} does not run on {shapes} ({first_line(error)}); choose other sizes"
        ) from error


def _require_device(onnxruntime: Any, device: str, provider: str) -> None:
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    if provider not in onnxruntime.get_available_providers():
        raise DeviceUnavailableError(_refusal(device, provider, onnxruntime.get_available_providers()))


def _refusal(device: str, provider: str, active: Sequence[str]) -> str:
    cure = "; install the extra [gpu] instead of [cpu] and check the driver" if device == "cuda" else ""
    return f"{device} not measured: {provider} is not active in ONNX Runtime (only {', '.join(active)}){cure}"


def _require_positions(tokens: int | None, config: Mapping[str, Any]) -> None:
    limit = config.get("max_position_embeddings")
    if tokens is not None and isinstance(limit, int) and 0 < limit < tokens:
        raise InputError(
            f"tokens={tokens} is more than the model's {limit} positions; choose tokens <= {limit}"
        )


def _is_tokens(entry: Mapping[str, Any]) -> bool:
    return entry["type"] in _INTEGERS and len(entry["shape"]) == 2


def _one_input(
    entry: Mapping[str, Any],
    batch: int,
    tokens: int | None,
    generator: np.random.Generator,
    config: Mapping[str, Any],
) -> np.ndarray:
    shape = _shape(entry, batch, tokens, config)
    if entry["type"] in _FLOATS:
        return generator.standard_normal(shape).astype(_FLOATS[entry["type"]])
    if entry["type"] == "tensor(bool)":
        return np.ones(shape, dtype=np.bool_)
    if entry["type"] not in _INTEGERS:
        raise InputError(
            f"input {entry['name']} of type {entry['type']} cannot be generated; use float or int"
        )
    return _integers(entry["name"], shape, generator, config).astype(_INTEGERS[entry["type"]])


def _integers(
    name: str, shape: tuple[int, ...], generator: np.random.Generator, config: Mapping[str, Any]
) -> np.ndarray:
    if "mask" in name:
        return np.ones(shape)
    if "token_type" in name:
        return np.zeros(shape)
    if "position" in name:
        return np.broadcast_to(np.arange(shape[-1]), shape)
    vocabulary = config.get("vocab_size")
    return generator.integers(0, vocabulary if isinstance(vocabulary, int) else _DEFAULT_VOCABULARY, shape)


def _shape(
    entry: Mapping[str, Any], batch: int, tokens: int | None, config: Mapping[str, Any]
) -> tuple[int, ...]:
    shape = entry["shape"]
    if shape and isinstance(shape[0], int) and shape[0] != batch:
        raise InputError(
            f"input {entry['name']} takes batch {shape[0]} only, got {batch}; set batch: [{shape[0]}]"
        )
    sizes = [batch] if shape else []
    for axis, size in enumerate(shape[1:], start=1):
        if isinstance(size, int):
            sizes.append(size)
        elif _is_tokens(entry) and tokens is not None:
            sizes.append(tokens)
        else:
            sizes.append(_image_size(entry["name"], axis, config))
    return tuple(sizes)


def _image_size(name: str, axis: int, config: Mapping[str, Any]) -> int:
    """Open sizes of an image tensor [batch, channels, height, width], from config.json."""
    size = config.get("num_channels" if axis == 1 else "image_size")
    if isinstance(size, (list, tuple)) and axis >= 2:
        size = size[axis - 2]
    if not isinstance(size, int):
        raise InputError(f"input {name} leaves axis {axis} open; put config.json beside the model file")
    return size
