"""The whole error tree. The command line maps `exit_code` to the process's exit status."""

__all__ = ["CheckFailedError", "InputError", "MissingExtraError", "PlatonError", "first_line"]


class PlatonError(Exception):
    """Base of every error raised on purpose by this package."""

    exit_code = 1


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
