"""What the machine says of itself, beside the usual environment block."""

import shutil
import subprocess
from typing import Any

from platon_compress.measure.environment import describe_environment

__all__ = ["describe_machine"]

_NVIDIA = ("name", "driver_version", "memory.total", "clocks.max.sm", "power.limit", "compute_cap")
_COMMANDS = {
    "lscpu": ["lscpu"],
    "nvidia_smi": ["nvidia-smi", f"--query-gpu={','.join(_NVIDIA)}", "--format=csv"],
}


def describe_machine() -> dict[str, Any]:
    """{"environment": ..., "facts": {command: lines, or None where it is missing or fails}}."""
    facts = {name: _lines(command) for name, command in _COMMANDS.items()}
    return {"environment": describe_environment(), "facts": facts}


def _lines(command: list[str]) -> list[str] | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None
