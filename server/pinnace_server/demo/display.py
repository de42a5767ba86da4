"""Shows the demo as it goes: a live table on a terminal, plain lines anywhere else.

Owns the look. Leaves what is shown to ``run``, which hands over a board whenever something may have changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, TextIO

from pinnace_server.demo.errors import DemoExtraMissing

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One device on the board."""

    device: str
    serving: str
    phase: str
    cause: str
    answered: int
    unanswered: int
    right_share: float | None  # of the last answers; None before there are any


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is going on at this moment."""

    headline: str
    rows: tuple[Row, ...]


class Display(Protocol):
    """Takes boards and lines; used as a context manager so that a terminal is put back in order."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...

    def show(self, board: Board) -> None:
        """Replace what is shown of the moment."""

    def say(self, line: str) -> None:
        """Add a line that stays."""


def display_for(output: TextIO) -> Display:
    """Choose the live table for a terminal, plain lines for a file or a pipe."""
    return LiveTable(output) if output.isatty() else PlainLines(output)


class PlainLines:
    """Prints a line for each change of a device, and none where nothing changed."""

    def __init__(self, output: TextIO) -> None:
        self._output = output
        self._shown: dict[str, tuple[str, str, str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        return None

    def show(self, board: Board) -> None:
        """Print the devices whose version, phase or reason is new."""
        for row in board.rows:
            state = (row.serving, row.phase, row.cause)
            if self._shown.get(row.device) != state:
                self._shown[row.device] = state
                why = f" ({row.cause})" if row.cause else ""
                self.say(f"  {row.device}: serving {row.serving}, {row.phase}{why}")

    def say(self, line: str) -> None:
        """Print the line at once: whoever reads a pipe wants to follow."""
        print(line, file=self._output, flush=True)


class LiveTable:
    """A table that is redrawn in place, with the lines that stay above it."""

    def __init__(self, output: TextIO) -> None:
        try:
            from rich.console import Console
            from rich.live import Live
        except ImportError as error:
            raise DemoExtraMissing(package="rich", extra="demo") from error
        self._console = Console(file=output)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._live.__exit__(kind, error, at)

    def show(self, board: Board) -> None:
        """Redraw the table."""
        self._live.update(_table(board))

    def say(self, line: str) -> None:
        """Print above the table."""
        self._console.print(line, markup=False, highlight=False)


def _table(board: Board) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(board.headline), title_justify="left", expand=False)
    for name in ("device", "serving", "phase", "why"):
        table.add_column(name)
    for name in ("answered", "no answer", "right"):
        table.add_column(name, justify="right")
    for row in board.rows:
        right = "" if row.right_share is None else f"{row.right_share:.0%}"
        table.add_row(
            Text(row.device),
            Text(row.serving),
            Text(row.phase),
            Text(row.cause),
            f"{row.answered:,}",
            f"{row.unanswered:,}",
            right,
        )
    return table
