"""What the demo shows: every device on the table, and on a pipe only what changed."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from pinnace_server.demo import display
from pinnace_server.demo.display import Board, LiveTable, PlainLines, Row, display_for

ROW = Row(device="device-1", serving="1", phase="trial", cause="", answered=1234, unanswered=2, right_share=0.975)
BOARD = Board(headline="version 2: waiting on device-1", rows=(ROW,))


def test_plain_lines_tell_each_change_once() -> None:
    output = io.StringIO()
    with PlainLines(output) as shown:
        shown.say("version 2")
        shown.show(BOARD)
        shown.show(replace(BOARD, rows=(replace(ROW, answered=2000),)))
        shown.show(replace(BOARD, rows=(replace(ROW, phase="idle", cause="CRASHED"),)))
    assert output.getvalue().splitlines() == [
        "version 2",
        "  device-1: serving 1, trial",
        "  device-1: serving 1, idle (CRASHED)",
    ]


def test_the_table_shows_every_column_of_a_device() -> None:
    console = Console(file=io.StringIO(), width=100)
    with console.capture() as captured:
        console.print(display._table(BOARD))
    text = captured.get()
    for word in ("version 2: waiting on device-1", "device-1", "trial", "1,234", "2", "98%"):
        assert word in text


def test_what_a_device_says_is_never_read_as_markup() -> None:
    console = Console(file=io.StringIO(), width=100)
    hostile = replace(ROW, cause="[bold]x[/bold]")
    with console.capture() as captured:
        console.print(display._table(replace(BOARD, rows=(hostile,))))
    assert "[bold]x[/bold]" in captured.get()


def test_a_pipe_gets_lines_and_a_terminal_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    assert isinstance(display_for(output), PlainLines)
    monkeypatch.setattr(output, "isatty", lambda: True)
    assert isinstance(display_for(output), LiveTable)
