"""The arguments that every verb against a server has."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from pinnace_server.cli.api import SERVER_SETTING, TOKEN_SETTING, Api, open_api

if TYPE_CHECKING:
    from argparse import _SubParsersAction

Run = Callable[[Api, argparse.Namespace], int]


def add_verb(
    verbs: _SubParsersAction[argparse.ArgumentParser], name: str, words: str, run: Run
) -> argparse.ArgumentParser:
    """Add a verb that talks to a server."""
    parser = verbs.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    parser.add_argument("--server", metavar="URL", help=f"default: {SERVER_SETTING}, or the one on this machine")
    parser.add_argument(
        "--token", help=f"default: {TOKEN_SETTING}, or the one in ./pinnace-data; other users may see arguments"
    )
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.set_defaults(run=lambda chosen: run(open_api(chosen.server, chosen.token), chosen))
    return parser


def add_group(
    verbs: _SubParsersAction[argparse.ArgumentParser], name: str, words: str
) -> _SubParsersAction[argparse.ArgumentParser]:
    """Add a word that takes another."""
    parser = verbs.add_parser(name, help=words, description=words[0].upper() + words[1:] + ".")
    return parser.add_subparsers(metavar="WHAT", required=True)
