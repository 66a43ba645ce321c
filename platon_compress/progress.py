"""How long work says how far it is: one call for everybody, whoever draws the bar."""

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """Called after each step of a piece of work."""

    def __call__(self, done: int, total: int, status: str = "") -> None:
        """`done` of `total` steps; `status` is what is going on now, in a few words."""


def silent(done: int, total: int, status: str = "") -> None:
    """Nobody watches."""
    del done, total, status
