"""Where a rehearsal's fleet and policy come from: files, or a server that runs."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from pinnace_server.cli import export
from pinnace_server.cli.api import TOKEN_SETTING, Api, CallFailed, quoted
from pinnace_sim.errors import CannotRehearse
from pinnace_sim.rehearsal import policies, snapshot
from pinnace_sim.rehearsal.policies import Given
from pinnace_sim.rehearsal.snapshot import Snapshot


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what names a server."""
    parser.add_argument("--server", metavar="URL", help="a server that runs, instead of --fleet")
    parser.add_argument("--token", help=f"for it (default: {TOKEN_SETTING})")


def fleet_of(chosen: argparse.Namespace) -> Snapshot:
    """Return the fleet that was named.

    Raises:
        BadSnapshot, CannotRehearse
    """
    if chosen.fleet is not None:
        return snapshot.read(chosen.fleet)
    if not chosen.server:
        raise CannotRehearse("expected a fleet, found neither --fleet (pinnace export fleet --out FILE) nor --server")
    try:
        return snapshot.of_tree(Path(chosen.server), export.snapshot(_api(chosen), None))
    except CallFailed as error:
        raise CannotRehearse(f"--server {chosen.server}: {error.message}") from error


def policy_of(chosen: argparse.Namespace) -> Given:
    """Return the policy that was named.

    Raises:
        CannotRehearse
    """
    if chosen.policy is not None:
        return policies.read(chosen.policy)
    if not chosen.server:
        raise CannotRehearse(f"--rollout {chosen.rollout}: expected --server with it, found none")
    try:
        return policies.given(chosen.rollout, _api(chosen).get(f"/rollouts/{quoted(chosen.rollout)}"))
    except CallFailed as error:
        raise CannotRehearse(f"--rollout {chosen.rollout}: {error.message}") from error


def within(name: str, value: float, least: float, most: float) -> None:
    """Make sure that an option is between its bounds.

    Raises:
        CannotRehearse
    """
    if not least <= value <= most:
        raise CannotRehearse(f"{name}: expected {least:g} to {most:g}, found {value:g}")


def _api(chosen: argparse.Namespace) -> Api:
    token = chosen.token or os.environ.get(TOKEN_SETTING, "")
    if not token:
        raise CannotRehearse(f"--server: expected a token, found neither --token nor {TOKEN_SETTING}")
    return Api(chosen.server, token)
