"""The command line that plots of a committed result share: RESULT.json PICTURE."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from platon_compress.errors import InputError, PlatonError

__all__ = ["run_plot_command"]


def run_plot_command(draw: Callable[[Mapping[str, Any], str], None], arguments: Sequence[str]) -> int:
    """Draw the result that the first argument names into the second; exit 2 on bad input."""
    try:
        if len(arguments) != 2:
            raise InputError(f"give a result and a picture's path, got {len(arguments)} arguments")
        draw(json.loads(Path(arguments[0]).read_text(encoding="utf-8")), arguments[1])
    except (PlatonError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
