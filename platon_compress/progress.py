"""How long work says how far it is: one call for everybody, whoever draws the bar."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, overload

__all__ = ["Progress", "Steps", "silent"]

T = TypeVar("T")


class Progress(Protocol):
    """Called after each step of a piece of work."""

    def __call__(self, done: int, total: int, status: str = "") -> None:
        """`done` of `total` steps; `status` is what is going on now, in a few words."""


def silent(done: int, total: int, status: str = "") -> None:
    """Nobody watches."""
    del done, total, status


@dataclass
class Steps:
    """Several pieces of work that go towards one total. `report` None: nobody watches."""

    total: int
    report: Progress | None = None
    done: int = 0

    def advance(self, status: str = "") -> None:
        """One step more."""
        self.done += 1
        (self.report or silent)(self.done, self.total, status)

    def over(self, items: Sequence[T], status: str = "") -> Sequence[T]:
        """`items`, each of which is a step when the one that walks over them has done with it."""
        return _Walked(items, self, status)


class _Walked(Sequence[T], Generic[T]):
    def __init__(self, items: Sequence[T], steps: Steps, status: str) -> None:
        self._items, self._steps, self._status = items, steps, status

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        return self._items[index]

    def __iter__(self) -> Iterator[T]:
        for item in self._items:
            yield item
            self._steps.advance(self._status)
