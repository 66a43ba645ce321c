"""The whole error tree. The command line maps `exit_code` to the process's exit status."""

import reprlib

__all__ = [
    "MISFITS",
    "CheckFailedError",
    "InputError",
    "MissingExtraError",
    "PlatonError",
    "first_line",
    "shown",
]


MISFITS = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What taking apart a value of another shape than it should have raises; OverflowError: infinity as a whole number."""

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 2, 60, 60, 60


_BREAKS = {ord(character): " " for character in "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}


class PlatonError(Exception):
    """Base of every error raised on purpose by this package. Its message is one line, whatever the names in it hold."""

    exit_code = 1

    def __init__(self, message: object = "", *others: object) -> None:
        super().__init__(message.translate(_BREAKS) if isinstance(message, str) else message, *others)


class InputError(PlatonError, ValueError):
    """The caller's input is wrong. One line: what is wrong, the value, the cure."""

    exit_code = 2


class MissingExtraError(InputError, ImportError):
    """An optional dependency is not installed. The line names the `pip install` that cures it."""


class CheckFailedError(PlatonError):
    """A check on our own result failed: parity beyond its tolerance, sparsity below its target."""


def first_line(error: BaseException) -> str:
    """The first line of another library's message, at most 200 characters, to quote inside one of ours."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def shown(value: object) -> str:
    """`value` as it is quoted in a message: its repr; long texts keep both ends, because a path's name is its last."""
    # Only the ends of something huge are spelled out: the repr of a nested list may be gigabytes.
    if isinstance(value, str | bytes):
        return repr(value) if len(value) <= 200 else f"{value[:60]!r}...{value[-60:]!r}"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    text = _SHORT.repr(value)
    return text if len(text) <= 80 else f"{text[:76]}..."
