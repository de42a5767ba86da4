"""``pinnace demo``: five devices, five versions, and what becomes of each.

Owns the words of the command line, where the demo keeps its things, and how it ends. Everything that is heavy to import
is imported when the verb runs.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pinnace_server.demo.errors import DemoError, FolderInUse

if TYPE_CHECKING:
    from argparse import _SubParsersAction
    from types import FrameType

    from pinnace_server.demo.run import Play

FAILED: Final = 1
CANCELLED: Final = 130  # what a shell reports of a program that Ctrl-C ended
PORT: Final = 8080


def add_parser(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``demo``; the namespace's ``run`` is what to call with it."""
    parser = verbs.add_parser(
        "demo",
        help="five devices, five versions, the first automatic rollback",
        description="Start a server and five device agents as processes on this machine, train a small classifier of "
        "handwritten digits, roll five versions of it out, and show what becomes of the bad ones. Ctrl-C ends it and "
        "everything that it started.",
    )
    parser.add_argument("--once", action="store_true", help="end after the story, with a status that tells how it went")
    parser.add_argument("--json", action="store_true", help="with --once: print the figures as one JSON document")
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="keep everything there (default: a temporary one)")
    parser.add_argument(
        "--port", type=int, help=f"of the console and the API (default: {PORT}, and with --once any that is free)"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo and return the exit status."""
    if arguments.json and not arguments.once:
        print("pinnace demo: --json needs --once, because without it the demo does not end", file=sys.stderr)
        return FAILED
    port = arguments.port if arguments.port is not None else (0 if arguments.once else PORT)
    try:
        with _ended_like_ctrl_c():
            _play(arguments.data_dir, port=port, once=arguments.once, as_json=arguments.json)
    except DemoError as error:
        print(f"pinnace demo: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return CANCELLED
    return 0


def _play(data_dir: Path | None, *, port: int, once: bool, as_json: bool) -> None:
    from pinnace_server.demo import figures
    from pinnace_server.demo.display import display_for
    from pinnace_server.demo.run import Play
    from pinnace_server.demo.stage import Place, set_stage

    play: Play | None = None
    try:
        with (
            _folder(data_dir) as folder,
            display_for(sys.stderr if as_json else sys.stdout) as display,
            set_stage(Place(folder=folder), port=port, tell=display.say) as stage,
        ):
            play = Play(stage=stage, display=display)
            play.play()
            for line in ["", *figures.lines(play.figures())]:
                display.say(line)
            if not once:
                for line in _how_to_go_on(stage.fleet.url, stage.token):
                    display.say(line)
                with suppress(KeyboardInterrupt):  # the end that was announced, and no failure
                    play.stay()
    except DemoError as error:
        if as_json:
            told = figures.document(play.figures(str(error))) if play else {"as_told": False, "problem": str(error)}
            print(json.dumps(told, indent=2))
        raise
    if as_json:
        print(json.dumps(figures.document(play.figures()), indent=2))


def _how_to_go_on(url: str, token: str) -> list[str]:
    return [
        "",
        f"The console is at {url}/ and the API at {url}/docs; the devices go on working.",
        f"Sign in with the admin token: {token}",
        "Ctrl-C ends the demo and everything that it started.",
    ]


@contextmanager
def _folder(given: Path | None) -> Iterator[Path]:
    """Yield an empty folder. A temporary one is removed, unless something failed: then its logs are needed."""
    if given is not None:
        if given.exists() and (not given.is_dir() or any(given.iterdir())):
            raise FolderInUse(folder=given)
        yield given.absolute()
        return
    temporary = Path(tempfile.mkdtemp(prefix="pinnace-demo-"))
    try:
        yield temporary
    except DemoError:
        print(f"pinnace demo: logs and files are kept in {temporary}", file=sys.stderr)
        raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _ended_like_ctrl_c() -> Iterator[None]:
    """Let the other signals that end a program leave no process behind either: a closed terminal, a supervisor."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
