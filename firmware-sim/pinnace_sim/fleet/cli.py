"""``pinnace-sim fleet``: a fleet in a box."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pinnace_sim import trace_cli, traces
from pinnace_sim.fleet import scenario
from pinnace_sim.fleet.own_server import Where, own_server
from pinnace_sim.fleet.profiles import PROFILES
from pinnace_sim.fleet.scenario import Seen, Wish

if TYPE_CHECKING:
    from argparse import _SubParsersAction


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add ``fleet``."""
    parser = commands.add_parser(
        "fleet",
        help="run many simulated devices against a real server and a real broker",
        description="Runs real agents by the thousand, with real connections and real verification, and played models. "
        "Without --server it starts a server and a broker of its own in a temporary folder.",
        epilog="profiles:\n" + "\n".join(f"  {each.name:<10} {each.what}" for each in PROFILES.values()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--devices", type=int, default=100, metavar="N", help="default %(default)s")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="mixed", help="default %(default)s")
    parser.add_argument(
        "--minutes", type=float, default=2.0, metavar="M", help="of reporting, after the commits (default %(default)s)"
    )
    parser.add_argument("--report-every-s", type=int, default=60, metavar="S", help="default %(default)s")
    parser.add_argument("--model-bytes", type=int, default=1_000_000, metavar="N", help="default %(default)s")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, metavar="N", help="default: all cores")
    parser.add_argument("--connects-a-s", type=float, default=scenario.CONNECTS_A_S, metavar="N", help="%(default)s")
    parser.add_argument("--trace", type=Path, metavar="FILE", help=trace_cli.HELP)
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of kinds and model (default %(default)s)")
    parser.add_argument("--server", metavar="URL", help="a server that runs already")
    parser.add_argument("--token", help="its admin token")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the own server's folder there")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.set_defaults(run=run)


def run(chosen: argparse.Namespace) -> int:
    """Run a fleet; 0 when nothing was lost, 1 when something was."""
    wish = Wish(
        devices=max(1, chosen.devices),
        profile=chosen.profile,
        minutes=chosen.minutes,
        report_every_s=max(1, chosen.report_every_s),
        model_bytes=max(1, chosen.model_bytes),
        processes=max(1, min(chosen.processes, chosen.devices)),
        seed=chosen.seed,
        connects_a_s=max(1.0, chosen.connects_a_s),
        courses=traces.read(chosen.trace).courses() if chosen.trace is not None else (),
    )
    scenario.raise_file_limit(wish.devices)
    with _server(chosen) as where:
        summary = scenario.play(wish, where, Shown(live=sys.stderr.isatty()))
    print(json.dumps(summary.tree()) if chosen.json else summary.text())
    return 1 if summary.lost else 0


@contextmanager
def _server(chosen: argparse.Namespace) -> Iterator[Where]:
    if chosen.server:
        yield Where(url=chosen.server.rstrip("/"), token=chosen.token or "")
    else:
        with own_server(chosen.keep) as where:
            yield where


class Shown:
    """One line that changes in a terminal; elsewhere a line for each stage and each tenth look."""

    def __init__(self, *, live: bool) -> None:
        self._live, self._looks, self._stage = live, 0, ""

    def __call__(self, seen: Seen) -> None:
        line = _line(seen)
        if self._live:
            print(f"\r\x1b[K{line}", end="" if seen.stage == self._stage else "\n", file=sys.stderr, flush=True)
        elif seen.stage != self._stage or self._looks % 20 == 0:
            print(line, file=sys.stderr, flush=True)
        self._looks = 0 if seen.stage != self._stage else self._looks + 1
        self._stage = seen.stage


def _line(seen: Seen) -> str:
    now = seen.progress
    parts = [
        f"{now.enrolled:,} enrolled",
        f"{now.connected:,} connected",
        f"{now.committed:,} committed of {seen.of + now.joined:,}",
        f"{now.acknowledged:,} of {now.reports:,} reports acknowledged",
    ]
    seldom = ((now.asleep, "asleep"), (now.dark, "in the dark"), (now.left, "left"), (now.failures, "FAILED"))
    parts += [f"{n:,} {word}" for n, word in seldom if n]
    parts += [f"{name} {cost.memory_bytes >> 20} MiB {cost.cpu_s:.0f} s" for name, cost in seen.costs.items()]
    return f"{seen.stage + ':':<8} " + ", ".join(parts)
