"""Flags and helpers that several commands share."""

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from platon_compress.errors import InputError

if TYPE_CHECKING:
    from platon_compress.pipeline.reporter import Reporter

__all__ = ["AsJson", "Output", "Overrides", "numbers", "reporter"]

Output = Annotated[Path, typer.Option("-o", "--output", help="Folder of the run; created if missing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="section.key=value of the recipe; may be repeated.")
]


def reporter(as_json: bool) -> "Reporter":
    """What talks to the person: lines and bars, or nothing but errors with `--json`."""
    from platon_compress.pipeline.reporter import Reporter

    _quiet_libraries()
    return Reporter(quiet=as_json)


def numbers(text: str, flag: str) -> tuple[int, ...]:
    """Whole numbers from a flag such as 1,8. Raises InputError."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(f"{flag} is {text!r}; give whole numbers with commas, for example 1,8") from error


def _quiet_libraries() -> None:
    """Other libraries' chatter goes; our own lines and errors stay."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    warnings.filterwarnings("ignore", module=r"(torch|transformers|onnx|datasets|accelerate)")
    for chatty in ("huggingface_hub", "datasets", "torch.onnx", "onnxscript"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    try:
        from transformers.utils import logging as transformers_logging
    except ImportError:
        return
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
