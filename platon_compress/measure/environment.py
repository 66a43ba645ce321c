"""The environment block that stands beside every measurement, so that a number can be judged later."""

import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from platon_compress.errors import PlatonError
from platon_compress.library import selected_kernel

__all__ = [
    "DEFAULT_PACKAGES",
    "bfloat16_flag",
    "chosen_isa",
    "describe_environment",
    "git_state",
    "spoken_load",
    "started_from",
    "usable_cores",
]

DEFAULT_PACKAGES = (
    "platon-compress",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "transformers",
    "scipy",
)
"""Distributions whose versions are recorded; read from their metadata, never imported."""

_BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")  # the last: aarch64
_CHECKOUT = Path(__file__).resolve().parents[2]
_RESULTS = "benchmarks/results"


def describe_environment(
    *, threads: int | None = None, isa: str | None = None, packages: Sequence[str] = DEFAULT_PACKAGES
) -> dict[str, Any]:
    """A JSON-able description of this machine and installation, now.

    `threads` is the number used by the measurement (None: all cores); `isa` the instruction set of our
    kernels, asked of the library by :func:`chosen_isa` when it is not given. Keys: cpu_model, cpu_flags,
    cores_logical, cores_physical, memory_bytes, isa, threads, operating_system, machine, python, packages
    (name to version, None when absent), git (of :func:`started_from`), timestamp (ISO 8601, UTC) and load_average
    (1, 5 and 15 minutes, or None).
    """
    cpu = _cpu_info()
    return {
        "cpu_model": cpu["model"],
        "cpu_flags": cpu["flags"],
        "cores_logical": os.cpu_count(),
        "cores_physical": cpu["physical"],
        "memory_bytes": _memory_bytes(),
        "isa": isa or chosen_isa(),
        "threads": threads or usable_cores(),
        "operating_system": platform.platform(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "git": started_from(),
        "timestamp": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_average": _load_average(),
    }


def bfloat16_flag() -> str | None:
    """The processor's flag that says it multiplies bfloat16 itself; None where it has none or does not tell."""
    flags = _cpu_info()["flags"]
    return next((flag for flag in _BFLOAT16_FLAGS if flag in flags), None)


def chosen_isa() -> str:
    """The kernel set that our library takes here (`PLATON_FORCE_ISA` included); "none" without the library."""
    try:
        return selected_kernel()
    except PlatonError:
        return "none"


@cache
def started_from() -> dict[str, Any] | None:
    """`git_state` of this checkout when the process first asked: later changes are not what it measures."""
    return git_state()


def git_state(folder: Path = _CHECKOUT) -> dict[str, Any] | None:
    """`{"commit": hash or None, "dirty": bool}` of the checkout in `folder`; None when it is not one.

    A site-packages folder inside somebody else's repository is not ours: `.git` must lie in `folder`. Results are no
    code: a benchmark of several cells may write them one by one.
    """
    if shutil.which("git") is None or not (folder / ".git").exists():
        return None
    status = _git(folder, "status", "--porcelain", "--", ".", f":(exclude){_RESULTS}")
    return {"commit": _git(folder, "rev-parse", "HEAD"), "dirty": bool(status) or status is None}


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cpu_info() -> dict[str, Any]:
    """Model, sorted flags and number of physical cores; only Linux tells the last two."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {"model": platform.processor() or platform.machine(), "flags": [], "physical": None}
    return _parse_cpuinfo(path.read_text(encoding="utf-8", errors="replace"))


def _parse_cpuinfo(text: str) -> dict[str, Any]:
    blocks = [dict(_fields(block)) for block in text.strip().split("\n\n")]
    first = blocks[0]
    flags = first.get("flags", first.get("Features", ""))
    cores = {(b["physical id"], b["core id"]) for b in blocks if {"physical id", "core id"} <= b.keys()}
    return {
        "model": first.get("model name") or platform.processor() or platform.machine(),
        "flags": sorted(flags.split()),
        "physical": len(cores) or None,
    }


def _fields(block: str) -> list[tuple[str, str]]:
    pairs = (line.split(":", 1) for line in block.splitlines() if ":" in line)
    return [(key.strip(), value.strip()) for key, value in pairs]


def usable_cores() -> int:
    """Cores this process may run on: what a container or taskset leaves, not what the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def spoken_load() -> str | None:
    """How busy the machine is, where more runs on it than it has cores."""
    load, cores = _load_average(), usable_cores()
    return f"load {load[0]:.1f} on {cores} cores" if load and load[0] > cores else None


def _load_average() -> list[float] | None:
    try:
        return [round(value, 2) for value in os.getloadavg()]
    except (AttributeError, OSError):
        return None
