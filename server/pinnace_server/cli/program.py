"""The command line as a whole: verbs, the arguments that they share, and how errors end it."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from pinnace_server.cli import (
    aliases,
    catalogue,
    export,
    fleet,
    reproduction,
    rollouts,
    running,
    shown,
    steering,
    withdrawal,
)
from pinnace_server.cli.api import CallFailed
from pinnace_server.errors import ServerError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

FAILED: Final = 1
CANCELLED: Final = 130  # what a shell reports of a program that Ctrl-C ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status."""
    parser = make_parser()
    chosen = parser.parse_args(aliases.spelled_out(sys.argv[1:] if arguments is None else arguments))
    try:
        status: int = chosen.run(chosen)
        return status
    except CallFailed as error:
        return _failed(chosen, error.message, error.hint, error.code)
    except ServerError as error:
        return _failed(chosen, error.message, error.hint, error.code)
    except KeyboardInterrupt:
        return CANCELLED
    except BrokenPipeError:  # `pinnace events | head`: nobody reads on, which is no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def make_parser() -> argparse.ArgumentParser:
    """Return the parser with every verb."""
    parser = argparse.ArgumentParser(
        prog="pinnace", description="Machine-learning models on fleets of edge devices: the server and its verbs."
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    running.add_parsers(verbs)
    _add_others(verbs)
    for part in (catalogue, aliases, fleet, rollouts, steering, withdrawal, export):
        part.add_parsers(verbs)
    reproduction.add_parser(verbs)
    return parser


def _add_others(verbs: _SubParsersAction[argparse.ArgumentParser]) -> None:
    from pinnace_converters import cli as converters

    converters.add_parser(verbs)
    if importlib.util.find_spec("pinnace_server.demo.cli") is not None:
        importlib.import_module("pinnace_server.demo.cli").add_parser(verbs)


def _failed(chosen: argparse.Namespace, message: str, hint: str, code: str) -> int:
    if getattr(chosen, "json", False):
        print(shown.as_json({"error": {"code": code, "message": message, "hint": hint}}))
    else:
        print(f"pinnace: {message}", file=sys.stderr)
        if hint:
            print(f"  {hint}", file=sys.stderr)
    return FAILED
