"""What a run tells the person who started it: headings, lines, tables, progress bars."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import (
    Progress as Bars,
)
from rich.table import Table

from platon_compress.pipeline.heartbeat import Heartbeat
from platon_compress.pipeline.output import let_go
from platon_compress.progress import Progress

__all__ = ["Reporter"]


class _Lines(Console):
    """Standard output, whose reader may leave."""

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except BrokenPipeError:  # rich before 13.8
            let_go()

    def on_broken_pipe(self) -> None:
        let_go()


class Reporter:
    """Lines go to standard output, progress to standard error: a bar on a terminal, a line a minute elsewhere.

    With `quiet` neither.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        width = None if sys.stdout.isatty() else 150
        self._lines = _Lines(quiet=quiet, highlight=False, width=width, soft_wrap=True)
        self._bars = Console(stderr=True)
        self._shows_bars = self._bars.is_terminal and not quiet
        self._beats = not self._bars.is_terminal and not quiet

    @property
    def width(self) -> int:
        """Characters in a line of the terminal; a wide one where lines go to a file."""
        return self._lines.width

    def heading(self, number: int, total: int, text: str) -> None:
        """The start of a stage."""
        self._lines.print(f"[bold cyan]\\[{number}/{total}][/] [bold]{escape(text)}[/]")

    def say(self, text: str) -> None:
        """One plain line; never wrapped, so that paths and verdicts can be copied."""
        self._lines.print(escape(text))

    def warn(self, text: str) -> None:
        """One line that should not be overlooked."""
        self._lines.print(f"[yellow]warning:[/] {escape(text)}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A table; the last column wraps, the others do not."""
        table = Table(title=title, title_justify="left", header_style="bold")
        for column in columns[:-1]:
            table.add_column(escape(column), no_wrap=True)
        table.add_column(escape(columns[-1]), overflow="fold")
        for row in rows:
            table.add_row(*map(escape, row))
        self._lines.print(table, soft_wrap=False)

    @contextlib.contextmanager
    def progress(self, text: str) -> Iterator[Progress]:
        """How far a piece of work is; the block calls what it gets with (done, total, status)."""
        if self._beats:
            yield Heartbeat(text, self._beat)
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[status]}"),
        )
        with Bars(*columns, console=self._bars, transient=True, disable=not self._shows_bars) as bars:
            bar = bars.add_task(escape(text), total=None, status="")

            def advance(done: int, total: int, status: str = "") -> None:
                bars.update(bar, completed=done, total=total, status=escape(status))

            yield advance

    def _beat(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody listens any more
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
